"""Barge-in and what surrounds it, one story a test; whole calls are in tests/simulation."""

import json

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bridge_call import MS, SID, Call

from realtime_bridge.transport import base
from realtime_bridge.wire import Item, Response, client, server
from realtime_bridge.wire.server import ErrorDetail
from telephony.bridge_commands import EndCall, ModelReady, ModelUnfit, ToModel
from telephony.bridge_inputs import (
    Discard,
    HoldBack,
    Interrupt,
    LineEnded,
    ModelGone,
    ModelSwitched,
    Mute,
    Release,
    Resume,
    Tick,
)
from telephony.twilio.messages import ClearAudio, Dtmf, Mark, Media, PlayMark, PlayMedia, Stop

# ---- caller to model -----------------------------------------------------------------------------------------------------


def test_caller_audio_goes_to_the_model_frame_by_frame():
    call = Call()
    for n in range(5):
        call.caller(at=n * 0.02)
        assert len(call.sent("input_audio_buffer.append")) == n + 1


def test_in_pcmu_the_payload_passes_through_untouched():
    call = Call("pcmu")
    call.caller()
    assert call.model == [{"type": "input_audio_buffer.append", "audio": pybase64.b64encode_as_string(b"\x55" * 160)}]


def test_in_pcm_twenty_milliseconds_become_480_samples():
    call = Call("pcm")
    call.caller()
    assert len(pybase64.b64decode(call.model[0]["audio"])) == 960


def test_words_spoken_before_the_model_is_ready_are_kept_and_sent():
    call = Call(ready=False)
    for _ in range(50):
        call.caller()
    assert call.model == []
    call.confirm()
    assert call.appended_ms == 1000


def test_at_most_half_a_minute_is_kept_the_newest():
    call = Call(ready=False)
    for _ in range(1600):
        call.caller()
    call.confirm()
    assert call.appended_ms == 30_000


def test_audio_that_could_not_be_kept_is_told_of_once():
    call = Call(ready=False)
    for _ in range(1600):
        call.caller()
    call.feed(Tick())
    call.feed(Tick())
    (problem,) = call.heard(base.TransportProblem)
    assert "2000 ms" in problem.message


def test_a_gap_in_the_timestamps_is_filled_with_silence():
    call = Call()
    call.caller(at=0.0)
    call.caller(at=0.1, skip_ms=80)
    assert call.appended_ms == 120
    assert pybase64.b64decode(call.model[1]["audio"]) == b"\xff" * 640


def test_a_phone_that_stops_sending_is_made_up_for_by_silence_in_real_time():
    call = Call()
    call.caller(at=0.0)
    call.run_until(2.0)
    assert call.appended_ms == pytest.approx(2000, abs=150)


def test_a_stall_is_not_filled_twice_when_its_timestamps_tell_of_it_too():
    call = Call()
    call.caller(at=0.0)
    call.run_until(1.0)
    call.caller(at=1.02, skip_ms=1000)
    assert call.appended_ms == 1040


def test_an_absurd_gap_is_filled_only_as_far_as_time_has_passed():
    call = Call()
    call.caller(at=0.0)
    call.caller(at=0.02, skip_ms=10**9)
    assert call.appended_ms == pytest.approx(60, abs=500)


def test_a_muted_caller_is_silence_to_the_model():
    call = Call()
    call.feed(Mute(True))
    call.caller()
    call.feed(Mute(False))
    call.caller()
    first, second = (pybase64.b64decode(e["audio"]) for e in call.model)
    assert first == b"\xff" * 160
    assert second == b"\x55" * 160


def test_keys_are_reported():
    call = Call()
    call.feed(Dtmf(1, SID, "inbound_track", "7"))
    assert call.reports == [base.DtmfReceived(digit="7")]


def test_stop_ends_the_call():
    call = Call()
    call.feed(Stop(1, SID, "AC1", "CA1"))
    assert isinstance(call.others[0], EndCall)


# ---- model to phone --------------------------------------------------------------------------------------------------------


def test_agent_audio_leaves_in_whole_frames_with_marks_no_more_than_200_ms_apart():
    call = Call()
    call.replies()
    call.says(1003)
    media = [m for m in call.phone if isinstance(m, PlayMedia)]
    assert all(len(m.mulaw) % 160 == 0 for m in media)
    assert max(len(m.mulaw) for m in media) <= 200 * MS
    assert sum(len(m.mulaw) for m in media) == 1000 * MS
    call.ends()
    assert sum(len(m.mulaw) for m in call.phone if isinstance(m, PlayMedia)) == 1020 * MS
    assert isinstance(call.phone[-1], PlayMark)


def test_mark_names_are_unique():
    call = Call()
    for n in range(20):
        call.replies(f"r{n}")
        call.says(300, f"i{n}", f"r{n}")
        call.ends(f"r{n}", f"i{n}")
    names = [m.name for m in call.phone if isinstance(m, PlayMark)]
    assert len(names) == len(set(names)) > 20


def test_what_the_caller_hears_is_reported_when_it_is_heard():
    call = Call()
    call.replies()
    call.says(500, at=1.0)
    call.ends()
    call.run_until(1.4)
    assert [r.item_id for r in call.heard(base.PlaybackStarted)] == ["i1"]
    assert call.heard(base.PlaybackFinished) == []
    call.run_until(1.6)
    assert [(r.item_id, r.audio_ms) for r in call.heard(base.PlaybackFinished)] == [("i1", 500)]


def test_audio_beyond_five_minutes_waits_here_and_follows():
    call = Call()
    call.replies()
    for _ in range(40):
        call.says(10_000, at=1.0)
    assert sum(len(m.mulaw) for m in call.phone if isinstance(m, PlayMedia)) <= 310_000 * MS
    call.run_until(150.0)
    assert sum(len(m.mulaw) for m in call.phone if isinstance(m, PlayMedia)) == 400_000 * MS


def test_audio_that_is_not_base64_is_left_out_and_reported():
    call = Call()
    call.feed(
        server.ResponseOutputAudioDelta(response_id="r", item_id="i", output_index=0, content_index=0, delta="!!")
    )
    assert call.phone == []
    assert call.heard(base.TransportProblem)


# ---- barge-in ----------------------------------------------------------------------------------------------------------------


def test_a_barge_in_clears_the_phone_and_truncates_at_what_was_heard():
    call = Call()
    call.replies()
    call.says(2000, at=1.0)
    call.forget()
    call.speech_starts(at=1.7)
    assert call.phone == [ClearAudio(SID)]
    assert [(e["type"], e["item_id"], e["content_index"], e["audio_end_ms"]) for e in call.model] == [
        ("conversation.item.truncate", "i1", 0, 700)
    ]
    (cut,) = call.heard(base.PlaybackInterrupted)[0].cuts
    assert (cut.heard_ms, cut.audio_ms) == (700, 2000)


def test_a_reply_that_was_generated_long_ago_can_still_be_interrupted():
    call = Call()
    call.replies()
    call.says(5000, at=1.0)
    call.ends()
    call.speech_starts(at=3.0)
    assert call.sent("conversation.item.truncate")[0]["audio_end_ms"] == 2000
    assert call.sent("response.cancel") == []


def test_a_caller_who_speaks_after_the_reply_was_heard_interrupts_nothing():
    call = Call()
    call.replies()
    call.says(500, at=1.0)
    call.ends()
    call.run_until(2.0)
    call.forget()
    call.speech_starts(at=2.0)
    assert call.phone == []
    assert call.model == []
    assert call.heard(base.PlaybackInterrupted) == []


def test_every_unheard_item_is_truncated():
    call = Call()
    call.replies()
    for item in ("i1", "i2", "i3"):
        call.says(1000, item, at=1.0)
        call.feed(server.ResponseOutputAudioDone(response_id="r1", item_id=item, output_index=0, content_index=0))
    call.speech_starts(at=2.5)
    assert [(e["item_id"], e["audio_end_ms"]) for e in call.sent("conversation.item.truncate")] == [
        ("i2", 500),
        ("i3", 0),
    ]


def test_late_audio_of_an_interrupted_reply_is_dropped_until_its_response_is_done():
    call = Call()
    call.replies()
    call.says(1000, at=1.0)
    call.speech_starts(at=1.2)
    call.forget()
    call.says(1000)
    call.says(1000, "i2")
    call.says(1000, "i2")
    assert call.phone == []
    assert [(e["item_id"], e["audio_end_ms"]) for e in call.model] == [("i2", 0)]
    call.ends()
    call.replies("r2")
    call.says(1000, "i3", "r2")
    assert any(isinstance(m, PlayMedia) for m in call.phone)


def test_a_reply_interrupted_before_its_first_sound_stays_silent():
    call = Call()
    call.replies(at=1.0)
    call.speech_starts()
    call.says(400)
    assert not any(isinstance(m, PlayMedia) for m in call.phone)


def test_a_reply_that_ran_dry_at_the_phone_is_cut_at_what_was_heard_of_it():
    call = Call()
    call.replies()
    call.says(400, at=1.0)
    call.run_until(2.0)
    call.forget()
    call.speech_starts(at=2.0)
    assert call.phone == []
    assert call.sent("conversation.item.truncate")[0]["audio_end_ms"] == 400
    call.says(400)
    assert call.phone == []
    assert len(call.sent("conversation.item.truncate")) == 1


def test_the_program_s_interrupt_cancels_what_the_server_would_not():
    call = Call()
    call.replies()
    call.says(1000, at=1.0)
    call.forget()
    call.feed(Interrupt(), at=1.3)
    assert [e["type"] for e in call.model] == ["response.cancel", "conversation.item.truncate"]
    assert call.heard(base.PlaybackInterrupted)[0].by == "program"


def test_the_server_s_vad_cancels_by_itself_all_but_out_of_band_replies():
    call = Call()
    call.replies("r1")
    call.replies("aside", conversation=None)
    call.says(1000, "i1", "r1", at=1.0)
    call.says(1000, "i9", "aside")
    call.speech_starts(at=1.5)
    assert [e["response_id"] for e in call.sent("response.cancel")] == ["aside"]
    assert [e["item_id"] for e in call.sent("conversation.item.truncate")] == ["i1"]


def test_an_item_heard_to_its_end_in_that_very_moment_is_not_cut_but_finished():
    call = Call()
    call.replies()
    call.says(500, at=1.0)
    call.ends()
    call.forget()
    call.speech_starts(at=1.5004)
    assert [r.item_id for r in call.heard(base.PlaybackFinished)] == ["i1"]
    assert call.heard(base.PlaybackInterrupted) == []
    assert call.model == []


def test_when_the_line_ends_the_session_learns_what_was_not_heard_and_the_model_nothing():
    call = Call()
    call.replies()
    call.says(1000, at=1.0)
    call.forget()
    call.feed(LineEnded(), at=1.4)
    (interrupted,) = call.heard(base.PlaybackInterrupted)
    assert (interrupted.by, interrupted.cuts[0].heard_ms) == ("end", 400)
    assert call.phone == []
    assert call.model == []


@pytest.mark.parametrize("kind", ["server_vad", "semantic_vad"])
def test_with_interrupt_response_off_the_agent_speaks_on(kind):
    call = Call(turn_detection={"type": kind, "interrupt_response": False})
    call.replies()
    call.says(1000, at=1.0)
    call.forget()
    call.speech_starts(at=1.3)
    assert call.phone == []
    assert call.model == []


def test_semantic_turn_detection_interrupts_too():
    call = Call(turn_detection={"type": "semantic_vad", "eagerness": "low"})
    call.replies()
    call.says(1000, at=1.0)
    call.speech_starts(at=1.3)
    assert ClearAudio(SID) in call.phone


def test_a_truncate_the_server_finds_too_long_is_sent_once_more_at_its_length():
    call = Call()
    call.replies()
    call.says(2000, at=1.0)
    call.speech_starts(at=2.0)
    (truncate,) = call.sent("conversation.item.truncate")
    call.forget()
    detail = ErrorDetail(
        type="invalid_request_error",
        message="Audio content of 900ms is already shorter than 1000ms",
        event_id=truncate["event_id"],
    )
    call.feed(server.ErrorEvent(error=detail))
    (again,) = call.sent("conversation.item.truncate")
    assert again["audio_end_ms"] == 900
    call.forget()
    call.feed(server.ErrorEvent(error=ErrorDetail(type="x", message=detail.message, event_id=again["event_id"])))
    assert call.model == []
    call.replies("r2")
    call.says(100, "i2", "r2")
    assert call.phone


def test_stale_and_foreign_marks_change_nothing():
    call = Call()
    call.replies()
    call.says(1000, at=1.0)
    for name in ("m999", ""):
        call.feed(Mark(1, SID, name), at=1.1)
    call.speech_starts(at=1.5)
    assert call.sent("conversation.item.truncate")[0]["audio_end_ms"] in range(480, 521)


# ---- session and model ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("audio", "format_type"), [("pcm", "audio/pcm"), ("pcmu", "audio/pcmu")])
def test_every_session_update_carries_both_formats(audio, format_type):
    call = Call(audio)
    call.feed(client.SessionUpdate(session={"instructions": "You are Billing now."}))
    session = call.model[0]["session"]
    assert session["type"] == "realtime"
    assert session["instructions"] == "You are Billing now."
    assert session["audio"]["input"]["format"]["type"] == format_type
    assert session["audio"]["output"]["format"]["type"] == format_type


def test_a_session_update_keeps_what_the_program_says_about_audio():
    call = Call()
    given_ = {"audio": {"input": {"turn_detection": None}, "output": {"voice": "marin"}}}
    call.feed(client.SessionUpdate(session=given_))
    assert call.model[0]["session"]["audio"]["output"]["voice"] == "marin"
    assert call.model[0]["session"]["audio"]["input"]["turn_detection"] is None
    assert given_ == {"audio": {"input": {"turn_detection": None}, "output": {"voice": "marin"}}}


def test_a_model_that_forgets_the_format_is_told_once_more_and_then_given_up():
    call = Call(ready=False)
    wrong = server.SessionUpdated(session={"audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}}}})
    call.feed(wrong)
    assert call.sent("session.update")
    call.feed(wrong)
    assert isinstance(call.others[-1], ModelUnfit)
    assert not any(isinstance(c, ModelReady) for c in call.others)


def test_when_the_model_is_lost_the_caller_is_held_and_nothing_is_truncated_at_the_next_one():
    call = Call()
    call.replies()
    call.says(3000, at=1.0)
    call.feed(ModelGone(), at=1.1)
    call.forget()
    call.caller(at=1.2)
    assert call.model == []
    call.confirm()
    assert call.model == []
    call.feed(Resume())
    assert call.appended_ms == 20
    call.forget()
    call.speech_starts(at=2.0)
    assert call.phone == [ClearAudio(SID)]
    assert call.model == []
    assert call.heard(base.PlaybackInterrupted)[0].cuts[0].heard_ms == 1000


def test_after_a_switch_the_new_model_hears_the_caller_once_it_knows_the_conversation():
    call = Call()
    call.feed(ModelSwitched())
    call.forget()
    call.caller()
    call.caller()
    assert call.model == []
    call.feed(client.ConversationItemCreate(item=Item(type="message")))
    call.feed(Resume())
    assert [e["type"] for e in call.model] == ["conversation.item.create", "input_audio_buffer.append"]
    assert call.appended_ms == 40


# ---- audio held back for guardrails ------------------------------------------------------------------------------------------


def played_ms(call):
    return sum(len(m.mulaw) for m in call.phone if isinstance(m, PlayMedia)) / MS


def held_call():
    call = Call()
    call.feed(HoldBack(500))
    call.replies()
    return call


def test_audio_held_back_is_played_when_it_is_released():
    call = held_call()
    for _ in range(3):
        call.says(200, at=1.0)
    assert played_ms(call) == 0
    call.feed(Release("i1", 0, 400), at=1.1)
    assert played_ms(call) == 400
    call.feed(Release("i1", 0, None))
    call.says(200)
    assert played_ms(call) == 800


def test_audio_held_back_is_played_when_its_budget_is_spent():
    call = held_call()
    call.says(200, at=1.0)
    call.says(200, at=1.3)
    call.run_until(1.45)
    assert played_ms(call) == 0
    call.run_until(1.6)
    assert played_ms(call) == 200
    call.run_until(1.9)
    assert played_ms(call) == 400


def test_what_was_held_back_when_the_caller_spoke_is_never_heard_and_truncated_at_nothing():
    call = held_call()
    call.says(200, at=1.0)
    call.speech_starts(at=1.2)
    call.run_until(5.0)
    assert played_ms(call) == 0
    assert call.sent("conversation.item.truncate")[0]["audio_end_ms"] == 0


def test_items_held_back_keep_their_order():
    call = held_call()
    call.says(200, "i1", at=1.0)
    call.says(200, "i2")
    call.feed(Release("i2", 0, None))
    assert played_ms(call) == 0
    call.feed(Release("i1", 0, None))
    assert played_ms(call) == 400
    call.run_until(1.35)
    assert [r.item_id for r in call.heard(base.PlaybackStarted)] == ["i1", "i2"]


def test_a_discarded_reply_is_silent_and_the_next_one_is_not():
    call = Call()
    call.replies("r1")
    call.feed(Discard("r1"))
    call.says(200, "i1", "r1")
    assert played_ms(call) == 0
    call.replies("r2")
    call.says(200, "i2", "r2")
    assert played_ms(call) == 200


def test_events_the_bridge_has_no_business_with_are_passed_on():
    call = Call()
    unknown = server.UnknownEvent(type="response.sparkles", payload={"type": "response.sparkles"})
    call.feed(unknown)
    assert call.reports == [unknown]


# ---- the law of the machine ------------------------------------------------------------------------------------------------

inputs = st.lists(
    st.tuples(
        st.floats(0, 0.7, allow_nan=False),
        st.sampled_from(
            ["caller", "says", "speech", "interrupt", "done", "tick", "mark", "created", "gone", "confirm", "discard"]
        ),
        st.integers(1, 400),
        st.integers(0, 3),
    ),
    max_size=50,
)


def play(story):
    """The commands of a story, as they are; run twice they must be the same, byte for byte."""
    call = Call()
    commands = []
    feed = call.bridge.handle
    for wait, what, amount, which in story:
        call.now += wait
        commands.extend(_step(call, feed, what, amount, which))
    return commands


def _step(call, feed, what, amount, which):
    rid, item = f"r{which}", f"i{which}"
    mulaw = b"\x33" * amount
    events = {
        "caller": lambda: Media(1, SID, "inbound", 1, int(call.now * 1000), pybase64.b64encode(mulaw), mulaw),
        "says": lambda: server.ResponseOutputAudioDelta(
            response_id=rid,
            item_id=item,
            output_index=0,
            content_index=0,
            delta=pybase64.b64encode_as_string(mulaw * 10),
        ),
        "speech": lambda: server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"),
        "interrupt": Interrupt,
        "done": lambda: server.ResponseDone(response=Response(id=rid)),
        "tick": Tick,
        "mark": lambda: Mark(1, SID, f"m{amount % 20}"),
        "created": lambda: server.ResponseCreated(response=Response(id=rid, conversation_id="c")),
        "gone": ModelGone,
        "discard": lambda: Discard(rid),
        "confirm": lambda: server.SessionUpdated(session={}),
    }
    return feed(events[what](), call.now)


@given(inputs)
def test_the_same_inputs_give_the_same_commands(story):
    assert play(story) == play(story)


@given(inputs)
def test_no_truncate_is_ever_longer_than_the_audio_of_its_item(story):
    call = Call()
    audio_ms = {}
    for wait, what, amount, which in story:
        call.now += wait
        commands = _step(call, call.bridge.handle, what, amount, which)
        if what == "says":
            audio_ms[f"i{which}"] = audio_ms.get(f"i{which}", 0) + amount * 10 / MS
        for command in commands:
            if isinstance(command, ToModel):
                event = json.loads(command.frame)
                if event["type"] == "conversation.item.truncate":
                    assert 0 <= event["audio_end_ms"] <= audio_ms[event["item_id"]]
