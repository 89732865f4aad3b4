from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from support.brain_turns import Talk, agent, call, caller, calls, deeds, function, result, system, turn, words

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.brains import script_format
from realtime_bridge.localmodel.brains.script import ScriptBrain
from realtime_bridge.localmodel.brains.script_format import load_script, parse_script
from realtime_bridge.localmodel.parts import CallTool, Say

BAKERY = Path(__file__).parent / "data" / "bakery.yaml"
FIND = function("find_order", order_id={"type": "string"})
TRANSFER = function("transfer_to_workshop")
OVEN = function("fire_oven")
FALLBACK = "Sorry, I did not understand that. Please say it again."


@pytest.fixture
def bakery():
    return ScriptBrain(load_script(BAKERY))


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        ("What are your opening hours?", "We are open from seven to six."),
        ("Uh, hello. What are your opening ours please.", "We are open from seven to six."),
        ("when are you open", "We are open from seven to six."),
        ("Where'd my order?", "What is your order number?"),
        ("WHERE IS MY ORDER", "What is your order number?"),
        ("Order where is my", "What is your order number?"),
        ("I want to speak to a banker.", "I am putting you through."),
        ("Good-by.", "Goodbye!"),
        ("Good bye", "Goodbye!"),
        ("How is the weather today?", FALLBACK),
        ("I had seventy reasons not to call.", FALLBACK),
        ("Where is my hat?", FALLBACK),
    ],
)
def test_phrases_are_recognised_as_a_recogniser_writes_them(bakery, heard, said):
    assert words(deeds(bakery, turn([agent("Hello!"), caller(heard)], [FIND, TRANSFER]))) == said


@pytest.mark.parametrize(
    ("heard", "order"),
    [
        ("Where is my order a 1042?", "A1042"),
        ("Where is my order, A-1042 please?", "A1042"),
        ("Where's my order b seven seven three one.", "B7731"),
        ("where is my order five double two", "522"),
        ("where is my order one zero for two", "1042"),
    ],
)
def test_a_slot_captures_what_was_said_in_its_place(bakery, heard, order):
    assert deeds(bakery, turn([caller(heard)], [FIND])) == [
        Say(f"Let me look up {order}."),
        CallTool("find_order", {"order_id": order}),
    ]


def test_numbers_keep_their_type_as_arguments(bakery):
    done = deeds(bakery, turn([caller("I want twenty five loaves of rye bread.")], [function("order_bread")]))
    assert done == [
        Say("25 loaves of rye bread, very well."),
        CallTool("order_bread", {"count": 25, "kind": "rye bread", "note": "25 for the caller"}),
    ]


def test_the_call_begins_with_the_greeting(bakery):
    assert words(deeds(bakery, turn([]))) == "Hello, this is the corner bakery. How can I help you?"
    assert words(deeds(bakery, turn([system("The caller is in the shop's list.")]))).startswith("Hello, this is")


def test_a_notice_that_is_dictated_comes_before_the_greeting(bakery):
    order = 'Say exactly: "This call is recorded." Say these words and nothing else, without any comment.'
    assert deeds(bakery, turn([], (), order)) == [Say("This call is recorded.")]
    assert words(deeds(bakery, turn([agent("This call is recorded.")]))).startswith("Hello, this is")
    assert deeds(bakery, turn([agent("Hello, this is")])) == []


def test_a_state_is_entered_and_left(bakery):
    talk = Talk(bakery, [FIND], results={"find_order": {"status": "baking"}})
    assert talk.hear("B7731") == FALLBACK  # not asked for yet
    assert talk.hear("Where is my order?") == "What is your order number?"
    assert talk.hear("It's B7731.") == "Let me look up B7731. Your order is still in the oven."
    assert talk.called == [CallTool("find_order", {"order_id": "B7731"})]
    assert talk.hear("B7731") == FALLBACK


def test_a_fresh_brain_goes_on_in_the_middle_of_a_conversation(bakery):
    talk = Talk(bakery, [FIND], results={"find_order": {"status": "shipped", "arrives": "Friday"}})
    talk.hear("Where is my order?")
    talk.brain = ScriptBrain(load_script(BAKERY))
    assert talk.hear("My order number is A ten forty two.").endswith(
        "Your order A1042 was shipped and arrives on Friday."
    )


def test_the_first_rule_that_applies_answers_a_tools_result(bakery):
    before = [caller("Where is my order A1042?"), call("find_order")]
    shipped = deeds(bakery, turn([*before, result({"status": "shipped", "arrives": "Friday"})], [FIND]))
    assert words(shipped) == "Your order A1042 was shipped and arrives on Friday."
    assert (
        words(deeds(bakery, turn([*before, result({"status": "baking"})], [FIND])))
        == "Your order is still in the oven."
    )


def test_a_result_without_a_rule_is_read_aloud(bakery):
    before = [caller("Where is my order A1042?"), call("find_order")]
    lost = deeds(bakery, turn([*before, result({"status": "shipped"})], [FIND]))  # the rule wants `arrives`
    assert words(lost) == "Status: shipped."
    assert words(deeds(bakery, turn([*before, result("We ate it")], [FIND]))) == "We ate it."


def test_two_results_and_a_question_are_answered_in_their_order(bakery):
    items = [
        caller("Where is my order A1?"),
        call("find_order", "call_1"),
        call("find_order", "call_2"),
        result({"status": "baking"}, "call_1"),
        result("Gone", "call_2"),
        caller("When are you open?"),
    ]
    assert words(deeds(bakery, turn(items, [FIND]))) == (
        "Your order is still in the oven. Gone. We are open from seven to six."
    )


def test_words_that_a_pause_cut_in_two_are_read_as_one(bakery):
    done = deeds(bakery, turn([agent("Hello!"), caller("Where is my order"), caller("a ten forty two")], [FIND]))
    assert calls(done) == [CallTool("find_order", {"order_id": "A1042"})]


def test_a_forbidden_or_missing_tool_is_not_called(bakery, caplog):
    items = [caller("Where is my order A1042?")]
    assert deeds(bakery, turn(items, [FIND], tool_choice="none")) == [Say("Let me look up A1042.")]
    assert not caplog.records
    assert deeds(bakery, turn(items, [])) == [Say("Let me look up A1042.")]
    assert "find_order is not among the session's tools" in caplog.text


def test_a_handed_over_call_is_greeted_and_follows_the_other_agents_rules(bakery):
    talk = Talk(bakery, [FIND, TRANSFER], "You answer the shop's phone.")
    talk.hear("Where is my order?")
    talk.items += [caller("I want to speak to a baker."), call("transfer_to_workshop", "t")]
    talk.items.append(result({"assistant": "Workshop"}, "t"))
    talk.tools, talk.instructions = [OVEN], "You are in the Workshop."
    assert talk.answer() == "This is the workshop, what is burning?"
    assert talk.hear("What are your opening hours?") == "The workshop never closes."
    assert talk.hear("A1042") == "I cannot hear you over the mixer."  # the question was the other agent's
    assert talk.hear("Light the oven!") == "Right away. Done."
    assert talk.called == [CallTool("fire_oven", {})]


def test_system_messages_have_rules_of_their_own(bakery):
    assert words(deeds(bakery, turn([agent("Hello!"), system("The caller pressed 1.")]))) == "You pressed one."
    assert deeds(bakery, turn([agent("Hello!"), system("Approval was granted.")])) == []


def test_silence_is_answered_with_the_fallback(bakery):
    assert words(deeds(bakery, turn([agent("Hello!"), caller(None)]))) == FALLBACK


def test_one_response_can_be_told_what_to_say(bakery):
    items = [caller("Where is my order A1042?"), call("find_order")]
    told = deeds(bakery, turn(items, [FIND], 'Say exactly: "One moment, please."'))
    assert told == [Say("One moment, please.")]


def test_a_phrase_that_takes_anything_comes_last():
    script = parse_script("""
        rules:
          - heard: "{anything}"
            say: "You said {anything}."
          - heard: what time is it
            say: Noon.
    """)
    assert words(deeds(ScriptBrain(script), turn([caller("Wat time is it?")]))) == "Noon."
    assert words(deeds(ScriptBrain(script), turn([caller("Nice weather.")]))) == "You said Nice weather."


def test_plain_yes_and_no_and_times_are_words():
    script = parse_script("""
        rules:
          - {heard: yes, say: 10:30}
          - {heard: [no, nope], say: off}
    """)
    assert words(deeds(ScriptBrain(script), turn([caller("Yes.")]))) == "10:30"
    assert words(deeds(ScriptBrain(script), turn([caller("No, thank you.")]))) == "off"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "s.yaml: empty; a script has at least 'rules'"),
        ("rules: [}", "s.yaml, line 1: not YAML"),
        ("rules: []", "s.yaml, line 1: a script needs at least one rule"),
        ("- 1", "s.yaml, line 1: Input should be"),
        ("rules:\n  - heard: hello\n    sya: hi", "s.yaml, line 3, rules[0].sya: unknown field; did you mean 'say'?"),
        ("rules:\n  - heard: hello", "s.yaml, line 2, rules[0]: a rule has 'say', 'call' or both"),
        ("rules:\n  - say: hi", "s.yaml, line 2, rules[0]: a rule has exactly one of 'heard', 'told' and 'after'"),
        ("rules:\n  - heard: hi\n    say: hi\n    say: ho", "s.yaml, line 2, rules[0]: 'say' twice (line 4)"),
        ("rules:\n  - heard: hi\n    say: [hi]", "s.yaml, line 3, rules[0].say: must be text"),
        ("rules:\n  - heard: '...'\n    say: hi", "rules[0]: no words in '...'"),
        (
            "rules:\n  - heard: 'a {b:c}'\n    say: hi",
            "rules[0]: unknown kind 'c' of slot 'b'; one of text, number, id",
        ),
        ("rules:\n  - heard: 'a {b'\n    say: hi", "rules[0]: a brace without its partner"),
        ("rules:\n  - heard: 'a {b} {c}'\n    say: hi", "rules[0]: two slots side by side"),
        ("rules:\n  - {heard: hi, say: ho, next: there}", "line 2, rules[0].next: no rule is in state 'there'"),
        ("rules:\n  - {heard: hi, say: ho, in: there}", "line 2, rules[0].in: no rule leads to state 'there'"),
        ("rules:\n  - {heard: hi, say: 'ho {who}'}", "line 2, rules[0]: no phrase captures {who}"),
        ("rules:\n  - {heard: hi, say: '{result.a}'}", "line 2, rules[0]: {result.a} is a tool's result"),
        ("rules:\n  - {heard: hi, say: ho, with: {a: 1}}", "rules[0]: 'with' are the arguments of a 'call'"),
        ("rules:\n  - {heard: hi, say: ho, if: {a: 1}}", "rules[0]: 'if' looks at a tool's result"),
        ("threshold: 120\nrules:\n  - {heard: hi, say: ho}", "s.yaml, line 1, threshold: Input should be less than"),
        ("agents:\n  - name: a\n    rules:\n      - {heard: hi, say: ho}", "line 2, agents[0].when: missing; add it"),
        ("agents:\n  - when: {}\n    rules:\n      - {heard: hi, say: ho}", "agents[0].when: 'when' needs 'tools'"),
        ("a: &a [*a]", "s.yaml"),
        ("rules: !!python/object:os.system {}", "not YAML"),
    ],
)
def test_a_wrong_script_is_refused_with_line_field_and_remedy(text, complaint):
    with pytest.raises(MisuseError) as refusal:
        parse_script(text, source="s.yaml")
    assert complaint in str(refusal.value)


def test_all_problems_are_named_at_once():
    with pytest.raises(MisuseError) as refusal:
        parse_script("rules:\n  - heard: hi\n  - say: ho\n  - {heard: a, say: b, x: 1}")
    assert len(str(refusal.value).splitlines()) == 3


def test_a_script_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(MisuseError, match=r"cannot read the script .*nowhere\.yaml: No such file"):
        load_script(tmp_path / "nowhere.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"greeting: Gr\xfc\xdf Gott")
    with pytest.raises(MisuseError, match=r"latin\.yaml: not UTF-8 text"):
        load_script(latin)


def test_the_example_in_the_documentation_is_a_valid_script():
    documentation = script_format.__doc__
    assert documentation is not None
    example = documentation.split("in YAML.")[1].split("A rule has exactly")[0].replace("rules: [...]", "")
    script = parse_script(example)
    assert len(script.rules) == 6
    assert script.agents[0].name == "billing"


LOST = "The connection was lost for a moment."


@pytest.mark.parametrize(
    ("before", "spoken", "rest"),
    [
        ([], "Hello, this is", "the corner bakery. How can I help you?"),
        ([agent("Hello!"), caller("when are you open")], "We are open from", "seven to six."),
        ([agent("Hello!"), caller("when are you open")], "We are open from seven to six.", ""),
        ([agent("Hello!"), caller("when are you open")], "Quite another thing", ""),
    ],
)
def test_an_answer_that_was_cut_off_with_the_connection_is_finished(bakery, before, spoken, rest):
    cut_off = msgspec.structs.replace(agent(spoken), status="incomplete")
    assert words(deeds(bakery, turn([*before, cut_off, system(LOST)]))) == rest


def test_the_call_that_was_to_follow_the_words_that_were_cut_off_is_made(bakery):
    cut_off = msgspec.structs.replace(agent("Let me look"), status="incomplete")
    assert deeds(bakery, turn([caller("Where is my order a 1042?"), cut_off, system(LOST)], [FIND])) == [
        Say("up A1042."),
        CallTool("find_order", {"order_id": "A1042"}),
    ]


def test_the_last_of_several_things_that_were_to_be_said_is_finished(bakery):
    told = result({"status": "baking"})
    items = [caller("Where is my order a 1042?"), call("find_order"), caller("when are you open"), told]
    first, second = deeds(bakery, turn(items, [FIND]))
    heard = " ".join(second.text.split()[:2])
    cut_off = msgspec.structs.replace(agent(heard), status="incomplete")
    (rest,) = deeds(bakery, turn([*items, agent(first.text), cut_off], [FIND]))
    assert f"{heard} {rest.text}" == second.text


def test_an_answer_that_the_caller_cut_off_is_not_finished(bakery):
    cut_off = msgspec.structs.replace(agent("Hello, this"), status="incomplete")
    assert words(deeds(bakery, turn([cut_off, caller("when are you open")]))) == "We are open from seven to six."


def test_an_answer_that_was_cut_off_is_finished_before_a_result_that_came_meanwhile_is_told(bakery):
    cut_off = msgspec.structs.replace(agent("We are open from"), status="incomplete")
    items = [caller("Where is my order a 1042?"), call("find_order"), caller("when are you open"), cut_off]
    done = deeds(bakery, turn([*items, result({"status": "baking"}), system(LOST)], [FIND]))
    assert done[0] == Say("seven to six.")
    assert len(done) == 2
