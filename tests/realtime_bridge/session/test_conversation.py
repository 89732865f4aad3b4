from realtime_bridge.session.conversation import Conversation
from realtime_bridge.session.events import HistoryAdded, HistoryUpdated
from realtime_bridge.session.items import message
from realtime_bridge.transport.base import ItemCut
from realtime_bridge.wire import ContentPart, Item


def user(item_id: str, **fields) -> Item:
    part = ContentPart(type="input_audio", **fields)
    return Item(type="message", id=item_id, role="user", status="completed", content=(part,))


def assistant(item_id: str, status="in_progress", content=()) -> Item:
    return Item(type="message", id=item_id, role="assistant", status=status, content=content)


def call(item_id: str, call_id: str, status="completed") -> Item:
    return Item(type="function_call", id=item_id, call_id=call_id, name="f", arguments="{}", status=status)


def words(conversation: Conversation) -> list[str]:
    return [item.text for item in conversation.history]


def ids(conversation: Conversation) -> list[str]:
    return [item.item_id for item in conversation.history]


def spoken_reply(conversation: Conversation, *pieces: str, ms: int = 500) -> None:
    conversation.seen(assistant("a"), None, agent="desk", response_id="r")
    for n, piece in enumerate(pieces, 1):
        conversation.spoke("a", 0, piece, whole=False)
        conversation.audio_received("a", 0, n * ms)


def test_an_item_is_added_once_and_then_updated():
    conversation = Conversation()
    assert isinstance(conversation.seen(user("u"), None)[0], HistoryAdded)
    assert conversation.seen(user("u"), None) == [], "nothing new"
    (event,) = conversation.transcribed("u", 0, "hello", whole=True)
    assert isinstance(event, HistoryUpdated)
    assert event.item.text == "hello"
    assert event.history == conversation.history


def test_items_stand_behind_the_one_they_follow():
    conversation = Conversation()
    for item_id, previous in (("1", None), ("3", "1"), ("2", "1"), ("0", "root"), ("4", "nowhere")):
        conversation.seen(user(item_id), previous)
    assert ids(conversation) == ["0", "1", "2", "3", "4"]


def test_a_transcript_survives_an_item_that_comes_without_it():
    conversation = Conversation()
    conversation.transcribed("u", 0, "hello", whole=True)
    conversation.seen(user("u"), None)
    assert words(conversation) == ["hello"]


def test_a_transcript_may_come_before_its_item_and_grow():
    conversation = Conversation()
    assert isinstance(conversation.transcribed("u", 0, "hel", whole=False)[0], HistoryAdded)
    assert conversation.transcribed("u", 0, "lo", whole=False) == []
    assert words(conversation) == ["hello"]
    conversation.transcribed("u", 0, "hello.", whole=True)
    assert words(conversation) == ["hello."]


def test_images_survive_an_update_without_them():
    conversation = Conversation()
    image = ContentPart(type="input_image", image_url="data:image/png;base64,")
    conversation.seen(Item(type="message", id="u", role="user", content=(image,)), None)
    conversation.seen(Item(type="message", id="u", role="user", content=(ContentPart(type="input_image"),)), None)
    assert conversation.history[0].content[0].image_url == image.image_url


def test_audio_is_kept_only_if_asked_for():
    for keep, kept in ((False, None), (True, "AAAA")):
        conversation = Conversation(keep_audio=keep)
        conversation.seen(user("u", audio="AAAA"), None)
        assert conversation.history[0].content[0].audio == kept


def test_a_reply_shows_its_words_while_it_grows():
    conversation = Conversation()
    spoken_reply(conversation, "Good", " morning")
    item = conversation.history[0]
    assert (item.text, item.status, item.agent, item.response_id) == ("Good morning", "in_progress", "desk", "r")


def test_a_cut_reply_holds_what_was_heard_and_what_was_not():
    conversation = Conversation()
    spoken_reply(conversation, "Good", " morning", " to", " you")
    conversation.cut(ItemCut(response_id="r", item_id="a", content_index=0, heard_ms=1000, audio_ms=2000))
    item = conversation.history[0]
    assert (item.text, item.unheard, item.cut, item.heard_ms, item.status) == (
        "Good morning",
        "to you",
        True,
        1000,
        "incomplete",
    )


def test_words_that_come_after_the_cut_do_not_bring_the_rest_back():
    conversation = Conversation()
    spoken_reply(conversation, "Good", " morning", " to")
    conversation.cut(ItemCut(response_id="r", item_id="a", content_index=0, heard_ms=1000, audio_ms=1500))
    conversation.spoke("a", 0, " you", whole=False)
    conversation.spoke("a", 0, "Good morning to you today", whole=True)
    full = ContentPart(type="output_audio", transcript="Good morning to you today")
    conversation.seen(assistant("a", "completed", (full,)), None)
    assert words(conversation) == ["Good morning"]
    assert conversation.history[0].unheard == "to you today"


def test_a_cut_known_before_its_item_is_not_lost():
    conversation = Conversation()
    conversation.cut(ItemCut(response_id="r", item_id="a", content_index=0, heard_ms=0, audio_ms=0))
    full = ContentPart(type="output_audio", transcript="never heard")
    conversation.seen(assistant("a", "completed", (full,)), None)
    assert words(conversation) == [""]
    assert conversation.history[0].unheard == "never heard"


def test_an_interrupted_reply_ends_with_the_audio_it_had():
    conversation = Conversation()
    spoken_reply(conversation, "Good", " morning")
    conversation.stopped("r")
    conversation.spoke("a", 0, " to you", whole=False)
    conversation.audio_received("a", 0, 9000)
    assert (words(conversation), conversation.history[0].heard_ms) == (["Good morning"], 1000)


def test_an_interruption_that_came_too_late_cut_nothing():
    conversation = Conversation()
    spoken_reply(conversation, "Good", " morning")
    conversation.stopped("r")
    assert (words(conversation), conversation.history[0].cut) == (["Good morning"], False)


def test_what_was_heard_to_the_end_says_so():
    conversation = Conversation()
    spoken_reply(conversation, "Good", " morning")
    conversation.audio_complete("a", 0)
    conversation.played("a", 1000)
    assert (conversation.history[0].heard_ms, conversation.history[0].cut) == (1000, False)


def test_a_call_and_its_result_are_one_item():
    conversation = Conversation()
    conversation.seen(call("c", "call_1"), None)
    conversation.answered("call_1", "out", "done")
    output = Item(type="function_call_output", id="out", call_id="call_1", output="done")
    assert conversation.seen(output, "c") == []
    conversation.seen(user("u"), "out")
    assert ids(conversation) == ["c", "u"]
    assert (conversation.history[0].output, conversation.history[0].status) == ("done", "completed")


def test_a_result_from_elsewhere_joins_its_call():
    conversation = Conversation()
    conversation.seen(call("c", "call_1"), None)
    conversation.seen(Item(type="function_call_output", id="out", call_id="call_1", output="done"), "c")
    assert conversation.history[0].output == "done"


def test_items_that_are_not_shown_still_hold_their_place():
    conversation = Conversation()
    conversation.seen(user("1"), None)
    conversation.seen(Item(type="mcp_list_tools", id="l", server_label="s"), "1")
    conversation.seen(user("3"), "1")
    conversation.seen(user("2"), "l")
    assert ids(conversation) == ["1", "2", "3"]


def test_deleted_items_do_not_come_back_with_a_late_event():
    conversation = Conversation()
    conversation.seen(user("u"), None)
    assert conversation.deleted("u") == [HistoryUpdated(history=())]
    assert conversation.deleted("u") == []
    conversation.seen(user("u"), None)
    conversation.transcribed("u", 0, "late", whole=True)
    assert conversation.history == ()


def test_what_is_told_to_a_fresh_model_session():
    conversation = Conversation()
    conversation.transcribed("u", 0, "hello", whole=True)
    spoken_reply(conversation, "Good", " morning", " to", " you")
    conversation.cut(ItemCut(response_id="r", item_id="a", content_index=0, heard_ms=1000, audio_ms=2000))
    conversation.seen(call("c", "call_1"), None)
    conversation.call_made("call_1")
    conversation.answered("call_1", "out", "done")
    conversation.seen(call("p", "call_2"), None)
    conversation.call_made("call_2")
    conversation.seen(user("silent"), None)
    told = conversation.restored()
    assert [(item.type, item.id) for item in told] == [
        ("message", "u"),
        ("message", "a"),
        ("function_call", "c"),
        ("function_call_output", "out"),
        ("function_call", "p"),
    ]
    assert told[0].content == (ContentPart(type="input_text", text="hello"),)
    assert told[1].content == (ContentPart(type="output_text", text="Good morning"),)
    assert conversation.absent == {"silent"}
    conversation.seen(told[1], None)
    assert conversation.history[1].content[0].type == "output_audio", "the echo says less than is known"


def talk_while_a_tool_runs():
    """A call, the caller's question, an answer; then the result, and the caller again."""
    conversation = Conversation()
    conversation.seen(call("c", "call_1"), None)
    conversation.call_made("call_1")
    conversation.seen(assistant("a", content=(ContentPart(type="output_text", text="One moment."),)), "c")
    conversation.answered("call_1", "out", "done")
    conversation.seen(Item(type="function_call_output", id="out", call_id="call_1", output="done"), "a")
    conversation.transcribed("u", 0, "hello", whole=True)
    return conversation


def test_a_result_is_told_again_where_it_was_told_behind_what_had_been_said_meanwhile():
    conversation = talk_while_a_tool_runs()
    assert [item.id for item in conversation.restored()] == ["c", "a", "out", "u"]


def test_what_stands_behind_a_result_stands_behind_what_was_said_before_it():
    conversation = talk_while_a_tool_runs()
    conversation.seen(user("late"), "out")
    assert [item.item_id for item in conversation.history] == ["c", "a", "late", "u"]


def test_a_result_outlives_the_item_it_stands_behind():
    conversation = talk_while_a_tool_runs()
    conversation.deleted("a")
    assert [item.id for item in conversation.restored()] == ["c", "out", "u"]


def test_a_lost_session_leaves_nothing_growing_and_no_call_half_made():
    conversation = Conversation()
    spoken_reply(conversation, "Good", " morning")
    conversation.spoke("a", 0, " to you", whole=False)
    conversation.seen(call("c", "call_1", status="in_progress"), None)
    conversation.lost()
    assert words(conversation) == ["Good morning"]
    assert conversation.history[0].status == "incomplete"


def test_typed_replies_grow_and_complete():
    conversation = Conversation()
    conversation.seen(assistant("a"), None, response_id="r")
    assert conversation.wrote("a", 0, "Good", whole=False) == []
    conversation.wrote("a", 0, "Good day", whole=True)
    assert conversation.output_of("r") == "Good day"
    assert conversation.wrote("unknown", 0, "x", whole=True) == []


def test_a_message_of_ones_own():
    item = message("m", "assistant", "hello")
    assert (item.text, item.content[0].type) == ("hello", "output_text")
