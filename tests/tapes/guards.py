"""What each tape of the regression set guards: a property that the call must have, and the fault that would undo it.

`Fault`: one changed line that brings the reported failure back, and the behaviour that a replay of the tape must then
name. The numbers are those of README.md, in this directory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pybase64
from calls import GREETING
from support.replayed_call import Json, ReplayedCall

from realtime_bridge.tape import Source

MULAW_BYTES_PER_S = 8000


@dataclass(frozen=True)
class Fault:
    module: str
    line: str
    changed: str
    what: str


def barge_in_after_generation(call: ReplayedCall) -> None:
    """A reply that was generated long ago is cleared and truncated all the same."""
    speaks = call.came(Source.MODEL, "input_audio_buffer.speech_started")[0].time
    assert call.came(Source.MODEL, "response.done")[0].time < speaks - 1
    assert [at for at, _ in call.to_phone("clear")] == [speaks]
    [(at, truncate)] = call.to_model("conversation.item.truncate")
    assert at == speaks
    assert 2500 < truncate["audio_end_ms"] < 3500


def a_turn_is_no_interruption(call: ReplayedCall) -> None:
    """A caller who speaks when all has been heard interrupts nothing, and nothing is lost of the transcript."""
    assert len(call.came(Source.MODEL, "input_audio_buffer.speech_started")) == 2
    assert call.to_phone("clear") == call.to_model("conversation.item.truncate") == []
    assert call.told("audio_interrupted") == []
    said = [item.text for item in call.history if item.role == "assistant"]
    assert said == ["Front desk. How can I help?", "Oh dear.", "You are welcome."]
    assert not any(item.cut for item in call.history)


def truncate_refused_as_too_long(call: ReplayedCall) -> None:
    """No truncate is longer than the audio that came; one that is refused is sent once more, at the model's length."""
    (_, first), (_, again) = call.to_model("conversation.item.truncate")
    assert first["item_id"] == again["item_id"]
    assert again["audio_end_ms"] == first["audio_end_ms"] // 2
    assert first["audio_end_ms"] <= audio_ms_of(call, first["item_id"])
    answers_again(call, "All right. What else?")


def errors_do_not_end_the_call(call: ReplayedCall) -> None:
    """A truncate that is refused without a length is left alone, and the agent speaks on."""
    assert len(call.to_model("conversation.item.truncate")) == 1
    [(_, problem)] = call.told("error")
    assert not problem.get("fatal", False)
    answers_again(call, "All right. What else?")


def marks_of_a_clear(call: ReplayedCall) -> None:
    """The echoes of marks that a clear threw away are not playback: each truncate is what can have been heard by then."""
    clears = [at for at, _ in call.to_phone("clear")]
    truncates = [event for _, event in call.to_model("conversation.item.truncate")]
    assert len(clears) == len(truncates) == 2
    for cleared, truncate in zip(clears, truncates, strict=True):
        began = first_delta(call, truncate["item_id"])
        assert math.isclose(truncate["audio_end_ms"], (cleared - began) * 1000, abs_tol=30)


def formats_after_a_hand_off(call: ReplayedCall) -> None:
    """Both formats are in every update, or the line turns to static."""
    updates = [event["session"] for _, event in call.to_model("session.update")]
    assert len(updates) == 2
    for session in updates:
        assert [session["audio"][way]["format"] for way in ("input", "output")] == [{"type": "audio/pcmu"}] * 2
    assert [e["to_agent"] for _, e in call.told("agent_handoff")] == ["Billing"]


def voice_after_a_hand_off(call: ReplayedCall) -> None:
    """The voice stays once audio was heard, with a warning; the hand-off goes on."""
    voices = [event["session"]["audio"]["output"]["voice"] for _, event in call.to_model("session.update")]
    assert voices == ["marin", "marin"]
    [(_, problem)] = call.told("error")
    assert (problem["code"], problem["level"]) == ("voice_frozen", "warning")
    answers_again(call, "Billing, this is Robin.")


def result_during_a_response(call: ReplayedCall) -> None:
    """One response at a time; the result that came while the agent spoke is spoken of when it has ended."""
    active: set[str] = set()
    for moment in call.moments:
        kind = moment.given.get("type") if moment.source is Source.MODEL else None
        if kind == "response.created":
            active.add(moment.given["response"]["id"])
        elif kind == "response.done":
            active.discard(moment.given["response"]["id"])
        asks = [event for way, event in moment.answers if way is Source.TO_MODEL and event["type"] == "response.create"]
        assert not (asks and active)
    [finished] = call.came(Source.SESSION, "tool_finished")
    assert finished.time < call.came(Source.MODEL, "response.done")[1].time - 1
    assert len(call.to_model("response.create")) == 2  # the greeting, and of the result
    answers_again(call, "There you are. A good customer.")


def cancelled_before_it_began(call: ReplayedCall) -> None:
    """A reply that was not wanted any more when it began is cancelled, not heard, and no part of what was said."""
    [(cancelled, cancel)] = call.to_model("response.cancel")
    orphan = cancel["response_id"]
    began = next(m for m in call.came(Source.MODEL, "response.created") if m.given["response"]["id"] == orphan)
    assert cancelled == began.time
    later = min(m.time for m in call.came(Source.MODEL, "response.created") if m.time > began.time)
    assert [at for at, _ in call.to_phone("media") if began.time <= at < later] == []
    assert [(item.text, item.unheard) for item in call.history if item.response_id == orphan] == [
        ("", "Nobody shall hear this.")
    ]


def late_audio_of_an_interrupted_reply(call: ReplayedCall) -> None:
    """What the model still sends of it does not reach the caller."""
    [(cleared, _)] = call.to_phone("clear")
    deltas = [m.time for m in call.came(Source.MODEL, "response.output_audio.delta")]
    again = min(m.time for m in call.came(Source.MODEL, "response.created") if m.time > cleared)
    assert [at for at in deltas if cleared < at < again], "the model has sent some"
    assert [at for at, _ in call.to_phone("media") if cleared <= at < again] == []


def the_model_is_lost(call: ReplayedCall) -> None:
    """The fresh session is told what was said, nobody is greeted again, and the caller's words are not lost."""
    [gone] = call.came(Source.PROGRAM, "bridge.model_gone")
    [resumed] = call.came(Source.PROGRAM, "bridge.resume")
    [(told, item)] = [(at, e["item"]) for at, e in call.to_model("conversation.item.create") if said_by_agent(e)]
    assert gone.time < told <= resumed.time
    assert item["content"][0]["text"] == "Front desk. How can I help?"
    assert [at for at, _ in call.appended() if gone.time <= at < resumed.time] == []
    came = sum(len(audio) for _, audio in call.caller_audio())
    given = sum(len(audio) for _, audio in call.appended())
    assert 0 <= given - came <= 0.6 * MULAW_BYTES_PER_S  # the last of it twice, for a turn that nobody noticed yet
    said = [(item.role, item.text) for item in call.history if item.role in ("user", "assistant")]
    assert said == [
        ("assistant", "Front desk. How can I help?"),
        ("user", "Hello, weasels have eaten our phone system."),
        ("assistant", "Weasels. Oh dear."),
    ]


def the_model_session_ends(call: ReplayedCall) -> None:
    """The change to a fresh session waits for a quiet moment; nobody is greeted again, and no sound is lost."""
    [(wanted, _)], [(switched, _)] = call.asked("rotate"), call.asked("switch")
    assert wanted < call.came(Source.MODEL, "input_audio_buffer.speech_stopped")[0].time < switched
    assert switched >= call.told("audio_stopped")[1][0]
    told = [e["item"]["content"][0]["text"] for _, e in call.to_model("conversation.item.create") if said_by_agent(e)]
    assert told == ["Front desk. How can I help?", "Weasels. Oh dear."]
    assert len(call.to_model("response.create")) == 1  # the greeting
    came = sum(len(audio) for _, audio in call.caller_audio())
    assert sum(len(audio) for _, audio in call.appended()) >= came
    answers_again(call, "Not at all.")


def items_end_in_whole_samples(call: ReplayedCall) -> None:
    """Every 20 ms from the phone are 20 ms for the model, and each item is as long on the phone as the model made it."""
    for _, audio in call.appended():
        assert len(audio) % 960 == 0
    came = sum(len(audio) for _, audio in call.caller_audio())
    assert sum(len(audio) for _, audio in call.appended()) == came * 6
    deltas = call.came(Source.MODEL, "response.output_audio.delta")
    made = sum(len(pybase64.b64decode(m.given["delta"])) for m in deltas)
    played = sum(len(pybase64.b64decode(message["media"]["payload"])) for _, message in call.to_phone("media"))
    items = len({m.given["item_id"] for m in deltas})
    assert 0 <= played - made / 6 <= items * 0.020 * MULAW_BYTES_PER_S  # the filter's tail


def the_phone_falls_silent(call: ReplayedCall) -> None:
    """The caller's turn ends although nothing comes from the phone any more: silence stands in for it."""
    times = [at for at, _ in call.caller_audio()]
    stall, until = max(pairwise(times), key=lambda pair: pair[1] - pair[0])
    assert until - stall > 3
    made_up = sum(len(audio) for at, audio in call.appended() if stall < at < until)
    assert math.isclose(made_up / MULAW_BYTES_PER_S, until - stall, abs_tol=0.3)
    [stopped] = call.came(Source.MODEL, "input_audio_buffer.speech_stopped")
    assert stall < stopped.time < until


def first_words_while_connecting(call: ReplayedCall) -> None:
    """What the caller says before the model listens is kept for it, to the last byte."""
    came, given = (b"".join(audio for _, audio in heard) for heard in (call.caller_audio(), call.appended()))
    assert call.appended()[0][0] >= 2
    assert given == came
    assert [item.text for item in call.history if item.role == "user"] == [
        "Hello, weasels have eaten our phone system."
    ]


def tool_ends_after_a_barge_in(call: ReplayedCall) -> None:
    """Its result is told to the model, and no turn begins for it."""
    [finished] = call.came(Source.SESSION, "tool_finished")
    [(cleared, _)] = call.to_phone("clear")
    assert cleared < finished.time
    assert [e["item"]["output"] for _, e in call.to_model("conversation.item.create")] == ["Nothing was found."]
    assert [at for at, _ in call.to_model("response.create") if at >= finished.time] == []


def the_same_tool_call_twice(call: ReplayedCall) -> None:
    """It runs once, and is answered once."""
    done = [m.given["item"] for m in call.came(Source.MODEL, "response.output_item.done")]
    assert len([item for item in done if item["type"] == "function_call"]) == 2
    assert len(call.asked("run_tool")) == 1
    assert len(call.to_model("conversation.item.create")) == 1


def hang_up_while_an_approval_waits(call: ReplayedCall) -> None:
    """What nobody has approved is not run, and the question goes when the caller does."""
    assert len(call.told("tool_approval_requested")) == 1
    [(_, resolved)] = call.told("tool_approval_resolved")
    assert (resolved["approved"], resolved["by"]) == (False, "session_end")
    assert call.asked("run_tool") == []


def hang_up_in_mid_sentence(call: ReplayedCall) -> None:
    """What was still to be said when the caller hung up was not heard; nobody is left to be sent a truncate."""
    [said] = call.history
    assert said.cut
    assert f"{said.text} {said.unheard}" == GREETING
    assert [event["by"] for _, event in call.told("audio_interrupted")] == ["end"]
    assert call.to_model("conversation.item.truncate") == []


def words_nobody_heard(call: ReplayedCall) -> None:
    """History, and what a fresh model session is told from it, hold what was heard."""
    cut, *_ = call.history
    assert cut.cut
    assert f"{cut.text} {cut.unheard}" == GREETING
    told = [e["item"] for _, e in call.to_model("conversation.item.create") if said_by_agent(e)]
    assert next(item["content"][0]["text"] for item in told) == cut.text
    assert not any("a great deal" in str(item) for item in told)


def said_by_agent(event: Json) -> bool:
    return event["item"].get("role") == "assistant"


def audio_ms_of(call: ReplayedCall, item_id: str) -> float:
    """What the model has sent of an item, in mu-law."""
    deltas = [m.given for m in call.came(Source.MODEL, "response.output_audio.delta")]
    return sum(len(pybase64.b64decode(d["delta"])) for d in deltas if d["item_id"] == item_id) / 8


def first_delta(call: ReplayedCall, item_id: str) -> float:
    deltas = call.came(Source.MODEL, "response.output_audio.delta")
    return next(m.time for m in deltas if m.given["item_id"] == item_id)


def answers_again(call: ReplayedCall, words: str) -> None:
    """The agent's last words were these, and were heard."""
    last = call.history[-1]
    assert (last.role, last.text, last.cut) == ("assistant", words, False)
    assert call.told("audio_stopped")[-1][1]["item_id"] == last.item_id


BRIDGE, SESSION = "telephony", "realtime_bridge.session"
GUARDS: dict[str, tuple[Callable[[ReplayedCall], None], Fault]] = {
    "01-barge-in-after-generation": (
        barge_in_after_generation,
        Fault(f"{BRIDGE}.bridge", "speaking = self._agent.unheard(now)", "speaking = bool(self._replies)", "clear"),
    ),
    "02-a-turn-is-no-interruption": (
        a_turn_is_no_interruption,
        Fault(f"{BRIDGE}.bridge", "return [ToPhone(clear)] if speaking else []", "return [ToPhone(clear)]", "clear"),
    ),
    "03-truncate-refused-as-too-long": (
        truncate_refused_as_too_long,
        Fault(
            f"{BRIDGE}.truncates", "max(shorter)) if shorter else None", "max(shorter)) if 0 else None", "truncation"
        ),
    ),
    "04-errors-do-not-end-the-call": (
        errors_do_not_end_the_call,
        Fault(f"{SESSION}.server_events", "fatal = error.code in _FATAL or", "fatal = not error.param or", "end"),
    ),
    "05-marks-of-a-clear": (
        marks_of_a_clear,
        Fault(
            f"{BRIDGE}.playout", "self._floor = max(self._floor, mark.wire)", "self._floor = self._wire", "truncation"
        ),
    ),
    "06-formats-after-a-hand-off": (
        formats_after_a_hand_off,
        Fault(
            f"{SESSION}.config",
            "merge(merge(session, self._program), self._transport)",
            "merge(session, self._program)",
            "session_update",
        ),
    ),
    "07-voice-after-a-hand-off": (
        voice_after_a_hand_off,
        Fault(f"{SESSION}.config", "if self._frozen:", "if False:", "session_update"),
    ),
    "08-result-during-a-response": (
        result_during_a_response,
        Fault(f"{SESSION}.responses", "if self._active is not None or self._sent is not None or", "if", "response"),
    ),
    "09-cancelled-before-it-began": (
        cancelled_before_it_began,
        Fault(
            f"{SESSION}.responses", "self._cancelling = token in self._orphans", "self._cancelling = False", "response"
        ),
    ),
    "10-late-audio-of-an-interrupted-reply": (
        late_audio_of_an_interrupted_reply,
        Fault(
            f"{BRIDGE}.bridge",
            "if reply is not None and reply.dropped:\n            return self._drop",
            "if False:\n            return self._drop",
            "media",
        ),
    ),
    "11-the-model-is-lost": (
        the_model_is_lost,
        Fault(
            f"{BRIDGE}.caller_audio",
            "            self.turn_ended()\n        self._ready = False",
            "            self.turn_ended()",
            "caller_audio",
        ),
    ),
    "11-the-model-session-ends": (
        the_model_session_ends,
        Fault(
            f"{SESSION}.recovery",
            "if self._spare is not None and core.connected and self._may_switch:",
            "if self._spare is not None:",
            "reconnection",
        ),
    ),
    "12-items-end-in-whole-samples": (
        items_end_in_whole_samples,
        Fault("realtime_bridge.audio.resample", "KAISER_BETA = 6.0", "KAISER_BETA = 5.9", "caller_audio"),
    ),
    "13-the-phone-falls-silent": (
        the_phone_falls_silent,
        Fault(f"{BRIDGE}.caller_audio", "self.stalls_at = now + STALL_S\n", "self.stalls_at = inf\n", "caller_audio"),
    ),
    "14-first-words-while-connecting": (
        first_words_while_connecting,
        Fault(f"{BRIDGE}.caller_audio", "HELD_MS_MAX = 30_000", "HELD_MS_MAX = 0", "caller_audio"),
    ),
    "16-tool-ends-after-a-barge-in": (
        tool_ends_after_a_barge_in,
        Fault(
            f"{SESSION}.tool_calls", 'call.speak = "when_idle" if', 'call.speak = "now" if 1 else "now" if', "response"
        ),
    ),
    "17-the-same-tool-call-twice": (
        the_same_tool_call_twice,
        Fault(
            f"{SESSION}.tool_calls",
            "if known is None:\n            self._calls",
            "if True:\n            self._calls",
            "tool",
        ),
    ),
    "18-hang-up-while-an-approval-waits": (
        hang_up_while_an_approval_waits,
        Fault(f"{SESSION}.tool_desk", "elif not result.needs_approval:", "elif True:", "approval"),
    ),
    "24-hang-up-in-mid-sentence": (
        hang_up_in_mid_sentence,
        Fault(
            f"{BRIDGE}.bridge",
            'commands.append(Report(PlaybackInterrupted(cuts=tuple(map(_cut, unheard)), by="end")))',
            "pass",
            "interruption",
        ),
    ),
    "24-words-nobody-heard": (
        words_nobody_heard,
        Fault(
            f"{SESSION}.conversation",
            "words = heard_text(spoken, heard_ms, self._lead.ms, self._lead.chars_per_s)",
            "words = spoken.text",
            "history",
        ),
    ),
}
