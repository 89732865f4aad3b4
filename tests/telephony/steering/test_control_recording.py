"""The recording of a call in the middle of it: the notice first, pauses, and an end that is wished for."""

import base64
import json
import wave
from datetime import UTC, datetime

import numpy as np
import pytest
from support.steered_call import SPEECH, WORD_S, SteeredCall

from realtime_bridge import Agent
from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.parts import CallTool
from realtime_bridge.localmodel.parts import Say as SayThis
from realtime_bridge.tape import Source, read_tape
from telephony.agents import PhoneAgent
from telephony.call_details import CallDetails
from telephony.calls.recording_policy import EarlierStreams, RecordingPolicy
from telephony.records.consent import Consent, as_agreed
from telephony.records.folder import CallFolder
from telephony.records.record import CallRecord
from telephony.replay.verify import verify_tape
from telephony.steering.control_recording import is_said
from telephony.steering.control_settings import ControlSettings, RecordingSettings, SilenceSettings
from telephony.steering.recording import Do, RecordingSwitch
from telephony.testing import HangUp, InterruptAfter, Pause, Press, Say, WaitForAgent
from telephony.tools import collect_digits, pause_recording, resume_recording, stop_recording
from telephony.word_redaction import WordRedactor

HELLO = [SayThis("Hello, this is the desk.")]
NOTICE = "This call is recorded."
ANNOUNCED = RecordingPolicy(notice=NOTICE)
NOTICE_S = 4 * WORD_S


def recorded(steered) -> dict:
    return json.loads((steered._data_dir / "calls" / steered.phone.ids.call_sid / "call.json").read_text())


def folder(steered) -> CallFolder:
    return CallFolder(steered._data_dir, steered.phone.ids.call_sid)


def taped_media(steered):
    tape = read_tape(folder(steered).tape.read_bytes())
    return [taped for taped in tape if taped.source is Source.PHONE and b'"media"' in taped.payload[:40]]


def caller_audio(taped) -> bytes:
    return base64.b64decode(json.loads(taped.payload)["media"]["payload"])


def is_silent(steered, start_ms, end_ms, channel) -> bool:
    with wave.open(str(folder(steered).recording)) as f:
        sound = np.frombuffer(f.readframes(f.getnframes()), "<i2").reshape(-1, 2)[start_ms * 8 : end_ms * 8, channel]
    assert len(sound) > 0
    return np.abs(sound.astype(int)).max() < 50


# ---- the notice ------------------------------------------------------------------------------------------------------


def test_the_caller_is_told_first_and_recorded_from_then_on(tmp_path):
    steered = SteeredCall(HELLO, [SayThis("Yes.")], data_dir=tmp_path, recording=ANNOUNCED)
    result = steered.run([WaitForAgent(), WaitForAgent(), Say(SPEECH), WaitForAgent(), HangUp()])
    assert result.failure is None
    record = recorded(steered)
    (notice,) = record["notices"]
    (pause,) = record["pauses"]
    assert (notice["text"], notice["heard"]) == (NOTICE, True)
    assert (pause["reason"], pause["start_ms"]) == ("notice", 0)
    assert NOTICE_S * 1000 <= pause["end_ms"] == notice["end_ms"] < NOTICE_S * 1000 + 1500
    assert [line["text"] for line in record["transcript"]] == [NOTICE, "Hello, this is the desk.", "Well.", "Yes."]
    assert record["recording"] == "kept"
    assert is_silent(steered, 0, pause["end_ms"], channel=0)
    assert not is_silent(steered, 0, pause["end_ms"], channel=1)  # it can be heard that they were told
    assert verify_tape(folder(steered).tape).differences == []


def test_nobody_talks_into_the_notice(tmp_path):
    """Neither by speaking nor by a key; what is said into it is not recorded."""
    steered = SteeredCall(HELLO, [SayThis("Yes.")], data_dir=tmp_path, recording=ANNOUNCED)
    result = steered.run([InterruptAfter(200), Say(SPEECH), Press("1"), WaitForAgent(), Pause(3000), HangUp()])
    record = recorded(steered)
    assert result.failure is None
    assert record["notices"][0]["heard"] is True
    assert record["barge_ins"] == []
    lines = [(line["text"], line["cut"]) for line in record["transcript"]]
    assert lines[:2] == [(NOTICE, False), ("Hello, this is the desk.", False)]
    end_ms = record["pauses"][0]["end_ms"]
    assert is_silent(steered, 0, end_ms, channel=0)
    assert {b"\xff" * 160} == {
        caller_audio(taped) for taped in taped_media(steered) if taped.time * 1000 < end_ms - 200
    }
    assert verify_tape(folder(steered).tape).differences == []
    assert record["recording"] == "kept"


@pytest.mark.parametrize("why", ["hung up", "other words", "no words"])
def test_without_the_notice_nothing_of_the_call_is_kept(tmp_path, why, monkeypatch):
    steered = SteeredCall(HELLO, [SayThis("Yes.")], data_dir=tmp_path, recording=ANNOUNCED)
    if why != "hung up":
        said = {"other words": "How may I help you today?", "no words": ""}[why]
        monkeypatch.setattr("support.steered_call.sentence_ordered", lambda words: words and NOTICE in words and said)
    talk = [HangUp()] if why == "hung up" else [Say(SPEECH), WaitForAgent(), Pause(8000), HangUp()]
    result = steered.run([Pause(300), *talk])
    assert result.failure is None
    record = recorded(steered)
    assert record["recording"] == "deleted"
    assert record["problems"][-1] == "not recorded: the caller did not hear the notice to its end"
    assert not any(notice["heard"] for notice in record["notices"])
    assert record["transcript"] == record["tools"] == []
    assert {path.name for path in folder(steered).path.iterdir()} == {"call.json", "timeline.svg"}
    if why != "hung up":  # and the call goes on
        assert "Hello, this is the desk." in [text for _, text, _ in steered.history]


@pytest.mark.parametrize(("delete", "why"), [(False, "the caller did not hear the notice to its end"), (True, "wish")])
def test_a_recording_that_is_stopped_during_the_notice_is_not_kept_without_it(tmp_path, delete, why):
    steered = SteeredCall(HELLO, data_dir=tmp_path, recording=ANNOUNCED)
    steered.at(0.2, lambda call: [call.control.recording.stop(delete=delete, because="wish")])
    steered.run([Pause(600), HangUp()])
    record = recorded(steered)
    assert (record["recording"], record["problems"][-1]) == ("deleted", f"not recorded: {why}")
    assert record["transcript"] == []


def test_an_agents_own_notice_counts_or_none(tmp_path):
    agent = Agent(name="Desk")
    assert ANNOUNCED.notice_of(PhoneAgent(agent)) == NOTICE
    assert ANNOUNCED.notice_of(PhoneAgent(agent, recording_notice="Recorded!")) == "Recorded!"
    assert ANNOUNCED.notice_of(PhoneAgent(agent, recording_notice="")) == ""
    assert ANNOUNCED.notice_of(PhoneAgent(agent, recording_notice="off")) == ""


@pytest.mark.parametrize(
    ("setting", "agents", "calls", "wanted"),
    [
        (True, None, None, True),
        (False, None, None, False),
        (False, True, None, True),
        (True, False, None, False),
        (True, False, True, True),
        (True, True, False, False),
    ],
)
def test_the_call_decides_before_the_agent_and_the_agent_before_the_setting(setting, agents, calls, wanted):
    agent = PhoneAgent(Agent(name="Desk"), record=agents)
    assert RecordingPolicy(record=setting).wants(CallDetails(call_sid="CA1", record=calls), agent) is wanted


def test_a_call_that_is_not_to_be_recorded_is_not_and_nobody_says_it_is(tmp_path):
    steered = SteeredCall(HELLO, data_dir=tmp_path, recording=ANNOUNCED)
    steered._details = CallDetails(call_sid=steered.phone.ids.call_sid, record=False)
    result = steered.run([WaitForAgent(), HangUp()])
    assert result.failure is None
    assert steered.control.recording.state == "off"
    assert [text for _, text, _ in steered.history] == ["Hello, this is the desk."]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MisuseError, match="this call is not recorded"):
        steered.control.recording.stop(delete=True, because="")


def test_what_was_wished_for_holds_when_the_call_comes_back():
    earlier = EarlierStreams()
    for call_sid, state in (("CA1", "deleted"), ("CA2", "stopped"), ("CA3", "on"), ("CA4", "announcing")):
        earlier.ended(call_sid, state)
    assert [earlier.refused(f"CA{n}") for n in range(1, 6)] == [True, True, False, False, False]
    assert [earlier.were_told(f"CA{n}") for n in range(1, 6)] == [False, False, True, False, False]


# ---- pauses ----------------------------------------------------------------------------------------------------------

PAUSING = [pause_recording, resume_recording]


def test_a_card_number_told_in_a_pause_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr("support.steered_call.UNDERSTOOD", ("I want to pay.", "It is 12 34.", "Thanks."))
    steered = SteeredCall(
        HELLO,
        [CallTool("pause_recording", {})],
        [SayThis("Your number please?")],
        [CallTool("resume_recording", {})],
        [SayThis("Paid with 12 34.")],
        tools=PAUSING, data_dir=tmp_path,
    )  # fmt: skip
    result = steered.run(
        [WaitForAgent(), Say(SPEECH), WaitForAgent(), Say(SPEECH), WaitForAgent(), Say(SPEECH), HangUp()]
    )
    assert result.failure is None
    record = recorded(steered)
    (pause,) = record["pauses"]
    assert pause["reason"] == "asked"
    texts = [line["text"] for line in record["transcript"]]
    assert texts[:4] == ["Hello, this is the desk.", "I want to pay.", "•••", "•••"]
    assert texts[4] == "Paid with 12 34."  # afterwards it is the agent's own fault, or a rule's of REDACT
    assert is_silent(steered, pause["start_ms"] + 50, pause["end_ms"] - 50, channel=0)
    assert is_silent(steered, pause["start_ms"] + 50, pause["end_ms"] - 50, channel=1)
    assert "It is 12 34." not in folder(steered).timeline.read_text()
    assert verify_tape(folder(steered).tape).differences == []


@pytest.mark.parametrize(("pause_s", "resume_s"), [(3.0, 3.5), (3.0, 8.0), (1.9, 3.5)])
def test_a_turn_that_reaches_into_a_pause_or_out_of_it_is_not_kept(tmp_path, monkeypatch, pause_s, resume_s):
    monkeypatch.setattr("support.steered_call.UNDERSTOOD", ("It is 12 34.",))
    steered = SteeredCall(HELLO, [SayThis("Thank you.")], data_dir=tmp_path)
    steered.at(pause_s, lambda call: [call.control.recording.pause()])
    steered.at(resume_s, lambda call: [call.control.recording.resume()])
    result = steered.run([WaitForAgent(), Say(3 * SPEECH), WaitForAgent(), Pause(5000), HangUp()])
    assert result.failure is None
    record = recorded(steered)
    (line,) = (line for line in record["transcript"] if line["role"] == "user")
    (pause,) = record["pauses"]
    assert line["text"] == "•••", (line, pause)
    assert not any(b"12 34" in taped.payload for taped in read_tape(folder(steered).tape.read_bytes()))
    assert verify_tape(folder(steered).tape).differences == []


def test_a_pause_ends_by_itself(tmp_path):
    short = ControlSettings(silence=SilenceSettings(after_s=None), recording=RecordingSettings(pause_s_max=5.0))
    steered = SteeredCall(HELLO, data_dir=tmp_path, settings=short)
    steered.at(4.0, lambda call: [call.control.recording.pause()])
    steered.run([WaitForAgent(), Pause(9_000), HangUp()])
    (pause,) = recorded(steered)["pauses"]
    assert pause["end_ms"] - pause["start_ms"] == pytest.approx(5000, abs=60)
    assert steered.control.recording.state == "on"
    with pytest.raises(MisuseError, match="1 to 5 s"):
        steered.control.recording.pause(6.0)


def test_secret_digits_are_in_no_record_and_not_told_to_the_model(tmp_path):
    collect = CallTool("collect_digits", {"digits_max": 4, "secret": True})
    steered = SteeredCall(HELLO, [SayThis("Your PIN, please."), collect], [SayThis("Thank you.")], tools=[collect_digits], data_dir=tmp_path)  # fmt: skip
    keys = [step for key in "8642" for step in (Pause(300), Press(key))]
    result = steered.run([WaitForAgent(), Say(SPEECH), WaitForAgent(), *keys, WaitForAgent(), HangUp()])
    assert result.failure is None
    record = recorded(steered)
    (tool,) = record["tools"]
    assert tool["output"] == "The caller entered 4 digits; they are kept from you and from all records."
    assert [pause["reason"] for pause in record["pauses"]] == ["digits"]
    assert steered.control.recording.state == "on"
    assert "8642" not in json.dumps(record)
    assert [key["key"] for key in record["keys"]] == ["•"] * 4
    tape = b"".join(taped.payload for taped in read_tape(folder(steered).tape.read_bytes()))
    assert not any(b'"digit":"%c"' % digit in tape for digit in b"8642")
    assert verify_tape(folder(steered).tape).differences == []


# ---- the end of it ---------------------------------------------------------------------------------------------------


def test_a_caller_who_does_not_want_it_is_obeyed(tmp_path):
    steered = SteeredCall(
        HELLO,
        [CallTool("stop_recording", {})],
        [SayThis("It is deleted.")],
        tools=[stop_recording], data_dir=tmp_path, recording=ANNOUNCED,
    )  # fmt: skip
    result = steered.run([WaitForAgent(), WaitForAgent(), Say(SPEECH), WaitForAgent(), HangUp()])
    assert result.failure is None
    record = recorded(steered)
    assert record["recording"] == "deleted"
    assert record["transcript"] == record["tools"] == []
    assert record["problems"][-1] == "not recorded: the caller did not want it"
    assert {path.name for path in folder(steered).path.iterdir()} == {"call.json", "timeline.svg"}
    assert steered.control.recording.state == "deleted"
    with pytest.raises(MisuseError, match="its recording has ended"):
        steered.control.recording.pause()


def test_an_operator_may_end_it_and_keep_what_there_is(tmp_path):
    steered = SteeredCall(HELLO, [SayThis("Yes.")], data_dir=tmp_path)
    steered.at(3.0, lambda call: [call.control.recording.stop(delete=False, because="")])
    result = steered.run([WaitForAgent(), Pause(2000), Say(SPEECH), WaitForAgent(), HangUp()])
    assert result.failure is None
    record = recorded(steered)
    assert record["recording"] == "kept"
    assert [line["text"] for line in record["transcript"]] == ["Hello, this is the desk.", "•••", "•••"]
    assert [pause["reason"] for pause in record["pauses"]] == ["stopped"]


def test_the_rules_hold_for_what_is_told_of_a_deleted_recording():
    told = CallRecord(
        call_sid="CA1", direction="inbound", from_number="", to_number="", agent="Desk", started_at=datetime.now(UTC),
        problems=("pay failed: 4242 4242 4242 4242",),
    )  # fmt: skip
    record = as_agreed(told, Consent(deleted_because="wish"), WordRedactor(["cards"]), lambda at: at)
    assert record.problems == ("pay failed: •••• •••• •••• ••••", "not recorded: wish")


def test_words_are_blackened_by_the_rules(tmp_path, monkeypatch):
    monkeypatch.setattr("support.steered_call.UNDERSTOOD", ("It is 4242 4242 4242 4242.",))
    policy = RecordingPolicy(redactor=WordRedactor(["cards", r"(?i)password (\w+)"]))
    steered = SteeredCall(HELLO, [SayThis("Password Grün, I see.")], data_dir=tmp_path, recording=policy)
    steered.run([WaitForAgent(), Say(SPEECH), WaitForAgent(), HangUp()])
    texts = [line["text"] for line in recorded(steered)["transcript"]]
    assert texts[1:] == ["It is •••• •••• •••• •••••", "Password ••••• I see."] or texts[1:] == [
        "It is •••• •••• •••• ••••.", "Password ••••, I see.",
    ]  # fmt: skip
    assert "4242" not in folder(steered).timeline.read_text()
    assert steered.ending.record.transcript[1].text == texts[1]  # what the store is told


# ---- the switch ------------------------------------------------------------------------------------------------------


def test_the_switch_resumes_when_no_reason_to_pause_is_left():
    switch = RecordingSwitch()
    assert switch.pause("asked", 10.0) == [Do.PAUSE]
    assert switch.pause("digits", 20.0) == []
    assert switch.resume("asked") == []
    assert (switch.state, switch.reason, switch.next_deadline()) == ("paused", "digits", 20.0)
    assert switch.due(19.9) == []
    assert switch.due(20.0) == [Do.RESUME]
    assert switch.state == "on"


def test_the_switch_keeps_nothing_without_the_notice_and_nothing_brings_it_back():
    switch = RecordingSwitch()
    assert switch.announce() == [Do.HIDE_CALLER]
    assert switch.pause("asked", 10.0) == [Do.PAUSE]
    assert switch.announced(heard=False) == [Do.DELETE, Do.SHOW_CALLER]
    assert switch.announced(heard=True) == switch.resume("asked") == switch.due(99.0) == []
    assert switch.stop(delete=True) == []
    assert switch.state == "deleted"


def test_the_notice_is_compared_with_what_was_said():
    notice = "This call is recorded."
    assert is_said(notice, "this call is recorded")
    assert is_said(notice, "Hello! This call is recorded. How may I help you?")
    assert is_said("It's recorded.", "It\u2019s recorded")
    assert not is_said(notice, "This call is not recorded.")
    assert not is_said(notice, "How may I help you?")
    assert not is_said(notice, "")
    assert not is_said("", "")
