"""What a call's recorder writes down of what it sees and is told, also of phones and models that misbehave."""

import asyncio
import wave

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.approvals import ApprovalRequest
from realtime_bridge.session import events
from realtime_bridge.session.items import HistoryItem
from realtime_bridge.session.usage import Tokens
from realtime_bridge.tape import InlineDisk, SealError, TapeKey
from realtime_bridge.transport.base import ItemCut, PlaybackInterrupted
from realtime_bridge.wire import ContentPart, server
from telephony.bridge_commands import ToPhone
from telephony.playout import ItemKey, PlayedSpan
from telephony.records.folder import CallFolder
from telephony.records.recorder import CallHead, CallRecorder
from telephony.twilio.media_stream import MediaStreamReader, MediaStreamWriter, PhoneSideWriter

CALL, STREAM = "CA" + "5" * 32, "MZ" + "5" * 32
BEGAN = 1000.0
LOUD, QUIET = b"\x11", b"\xff"  # mu-law


class Call:
    """A recorder under the test's hand, in the test's time."""

    def __init__(self, data_dir, key=None):
        self.now = BEGAN
        self._sent = 0
        self._ours = MediaStreamWriter(STREAM)
        self.folder = CallFolder(data_dir, CALL, key=key)
        head = CallHead(
            call_sid=CALL,
            stream_sid=STREAM,
            direction="inbound",
            from_number="",
            to_number="",
            agent="Desk",
            model="m",
            audio="pcmu",
            clock_s=BEGAN,
        )
        self.recorder = CallRecorder(head, self.folder, InlineDisk(), clock=lambda: self.now)
        self._writer = PhoneSideWriter(stream_sid=STREAM, account_sid="AC0123", call_sid=CALL)
        self._reader = MediaStreamReader()
        for frame in (self._writer.connected(), self._writer.start({})):
            self._reader.receive(frame)

    def phone_sends(self, timestamp_ms, mulaw=b"\x11" * 160):
        frame = self._writer.media(mulaw, timestamp_ms)
        self.recorder.phone_message(self._reader.receive(frame), frame, self.now)

    def phone_presses(self, key, after_s=0.0):
        self.now += after_s
        frame = self._writer.dtmf(key)
        self.recorder.phone_message(self._reader.receive(frame), frame, self.now)

    def told(self, *told, after_s=0.0):
        self.now += after_s
        for event in told:
            self.recorder.session_event(event)

    def plays(self, *reports, after_s=0.0):
        self.told(*(events.TransportEventSeen(event=report) for report in reports), after_s=after_s)

    def agent_heard(self, item_id, start_ms, end_ms, sound=LOUD):
        """Audio of this item is sent, and the phone plays it from `start_ms` to `end_ms`."""
        mulaw = (sound * (8 * (end_ms - start_ms)))[: 8 * (end_ms - start_ms)]
        self.recorder.command(ToPhone(self._ours.media(mulaw)), self.now)
        key = ItemKey("r", item_id, 0)
        span = PlayedSpan(
            key=key, wire_start=self._sent, wire_end=self._sent + len(mulaw), played_at=BEGAN + start_ms / 1000
        )
        self._sent += len(mulaw)
        self.recorder.played([span], 0.0)

    def end(self, *history):
        return asyncio.run(self.recorder.close(history, Tokens(), "over"))

    @property
    def wav_s(self):
        with wave.open(str(self.folder.recording)) as file:
            return file.getnframes() / file.getframerate()


@pytest.fixture
def call(tmp_path):
    return Call(tmp_path)


# ---- sealed ---------------------------------------------------------------------------------------------------------------


def test_with_a_key_nothing_of_a_call_can_be_read_without_it(tmp_path):
    key = TapeKey(b"k" * 32)
    call = Call(tmp_path, key)
    call.phone_sends(0, LOUD * 160)
    call.agent_heard("a", 100, 500)
    record = call.end(said("a", "Wednesday"))
    assert record.problems == ()
    assert [line.text for line in record.transcript] == ["Wednesday"]
    for path in (call.folder.recording, call.folder.record, call.folder.timeline, call.folder.tape):
        assert not any(word in path.read_bytes() for word in (b"Wednesday", b"RIFF", b"transcript", b"<svg", LOUD * 40))
    assert call.folder.read_record() == record
    assert call.folder.read(call.folder.recording).startswith(b"RIFF")
    assert b"Wednesday" in call.folder.read(call.folder.timeline)
    with pytest.raises(SealError, match=key.key_id):
        CallFolder(tmp_path, CALL).read_record()


def test_the_streams_of_a_call_are_found_in_order(tmp_path):
    assert CallFolder(tmp_path, CALL).streams() == []
    for _ in range(11):
        folder = CallFolder.of_next_stream(tmp_path, CALL)
        folder.create()
        folder.tape.touch()
    (folder.path.parent / "notes").mkdir()
    streams = CallFolder(tmp_path, CALL).streams()
    assert [stream.path.name for stream in streams] == [CALL, *map(str, range(2, 12))]


# ---- the phone's clock ------------------------------------------------------------------------------------------------------


def test_a_call_is_as_long_as_its_phone_says(call):
    for n in range(100):
        call.now = BEGAN + 0.07 + n * 0.02
        call.phone_sends(n * 20)
    record = call.end()
    assert record.duration_ms == 2000
    assert call.wav_s == 2.0
    assert record.problems == ()


@pytest.mark.parametrize("stamp_ms", [20_000, 10**9, 2**53])
def test_a_frame_stamped_far_in_the_future_moves_no_clock_and_stretches_no_recording(stamp_ms, call):
    call.phone_sends(0)
    call.phone_sends(stamp_ms)
    call.now += 0.02
    call.phone_sends(20)
    call.phone_sends(stamp_ms)
    call.now += 1.0
    record = call.end()
    assert record.duration_ms == 1040
    assert call.wav_s == 0.04
    (problem,) = record.problems
    assert f"{stamp_ms} ms" in problem


def test_the_first_frames_may_be_late_and_the_clock_goes_by_those_in_time(call):
    call.now += 3.0
    call.phone_sends(0)
    call.phone_sends(2900)
    record = call.end()
    assert record.duration_ms == 2920
    assert record.problems == ()


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 2**53) | st.integers(0, 30_000)), max_size=30))
def test_no_timestamps_make_a_recording_much_longer_than_its_call(tmp_path_factory, frames):
    call = Call(tmp_path_factory.mktemp("calls"))
    for pause_ms, stamp_ms in frames:
        call.now += pause_ms / 1000
        call.phone_sends(stamp_ms)
    seconds = call.now - BEGAN
    record = call.end()
    assert 0 <= record.duration_ms <= (seconds + 10) * 1000 + 21  # the last frame was sent when it had ended
    assert call.wav_s <= seconds + 10 + 0.021


# ---- tools and approvals -------------------------------------------------------------------------------------------------


def tool_call(call, arguments):
    called = {"agent": "Desk", "tool": "find", "call_id": "call_1", "arguments": arguments}
    call.told(events.AgentToolStart(**called))
    call.told(events.AgentToolEnd(**called, output="found", outcome="ok"), after_s=0.2)


def test_a_tool_is_written_down_with_its_arguments_and_times(call):
    call.phone_sends(0)
    tool_call(call, '{"order":"A1"}')
    (use,) = call.end().tools
    assert (use.name, use.arguments, use.outcome, use.output) == ("find", {"order": "A1"}, "done", "found")
    assert (use.start_ms, use.end_ms) == (20, 220)


@pytest.mark.parametrize(
    "arguments",
    [
        "{",
        "[1]",
        '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a":' * 900 + "1" + "}" * 900,
        '{"a":' + "[" * 70 + "]" * 70 + "}",
        '{"a":' + "[" * 100_000,
    ],
    ids=["cut off", "a list", "far too deep", "about as deep as Python goes", "too deep", "deep and cut off"],
)
def test_arguments_that_nobody_could_read_are_kept_as_text(arguments, call):
    tool_call(call, arguments)
    record = call.end()
    assert record.problems == ()
    assert record.tools[0].arguments == {"malformed": arguments}
    assert call.folder.read_record() == record


REQUEST = ApprovalRequest(call_id="call_1", agent="Desk", tool="refund", arguments='{"amount":5}')


@pytest.mark.parametrize(
    ("approved", "by", "decision"),
    [
        (True, "program", "approved"),
        (False, "program", "rejected"),
        (False, "timeout", "expired"),
        (True, "timeout", "approved"),
        (False, "session_end", "cancelled"),
        (False, "model_lost", "cancelled"),
    ],
)
def test_an_approval_is_written_down_with_what_became_of_it(approved, by, decision, call):
    call.told(events.ToolApprovalRequested(request=REQUEST))
    call.told(events.ToolApprovalResolved(request=REQUEST, approved=approved, by=by), after_s=1.5)
    (approval,) = call.end().approvals
    assert (approval.tool, approval.decision) == ("refund", decision)
    assert approval.end_ms - approval.start_ms == 1500


# ---- what was said ---------------------------------------------------------------------------------------------------------


def said(item_id, text, **more):
    content = (ContentPart(type="output_audio", transcript=text),)
    return HistoryItem(item_id=item_id, role="assistant", content=content, agent="Desk", **more)


PART = {"response_id": "r", "content_index": 0}


def test_the_transcript_has_the_words_as_heard_and_when(call):
    call.agent_heard("a", 1000, 1500)
    call.agent_heard("b", 2500, 2700)
    call.agent_heard("b", 2700, 2800)
    cut = ItemCut(item_id="b", heard_ms=300, audio_ms=2000, **PART)
    call.plays(PlaybackInterrupted(cuts=(cut,), by="speech"), after_s=2.8)
    record = call.end(said("a", "Hello."), said("b", "I was", cut=True, unheard="going to say"), said("c", ""))
    assert [(line.text, line.start_ms, line.end_ms, line.cut) for line in record.transcript] == [
        ("Hello.", 1000, 1500, False),
        ("I was", 2500, 2800, True),
    ]
    (barge_in,) = record.barge_ins
    assert (barge_in.item_id, barge_in.audio_end_ms, barge_in.at_ms) == ("b", 300, 2800)


def heard(item_id, text):
    content = (ContentPart(type="input_audio", transcript=text),)
    return HistoryItem(item_id=item_id, role="user", content=content)


def test_an_answer_takes_from_the_caller_s_last_sound_to_the_agent_s_first(call):
    """The model says late that speech has begun and ended, and the agent's audio begins with silence."""
    for n in range(200):
        call.now = BEGAN + (n + 1) * 0.02
        loud = 50 <= n < 100 or n == 20
        call.phone_sends(n * 20, (LOUD if loud else QUIET) * 160)
        if n == 63:
            call.plays(server.InputAudioBufferSpeechStarted(event_id="e", audio_start_ms=900, item_id="u"))
        if n == 124:
            call.plays(server.InputAudioBufferSpeechStopped(event_id="e", audio_end_ms=2480, item_id="u"))
    call.agent_heard("a", 2700, 2800, QUIET)
    call.agent_heard("a", 2800, 3500)
    call.agent_heard("b", 3700, 3800)
    asked, answer, more = call.end(heard("u", "Who is there?"), said("a", "Me."), said("b", "Hello!")).transcript
    assert (asked.start_ms, asked.end_ms) == (1000, 2000)
    assert (answer.start_ms, answer.end_ms) == (2800, 3500)
    assert [line.answer_ms for line in (asked, answer, more)] == [None, 800, None]


def test_who_is_interrupted_has_not_answered(call):
    call.plays(server.InputAudioBufferSpeechStarted(event_id="e", audio_start_ms=900, item_id="u"), after_s=1.0)
    call.agent_heard("a", 1200, 1500)
    call.plays(server.InputAudioBufferSpeechStopped(event_id="e", audio_end_ms=2480, item_id="u"), after_s=1.0)
    call.agent_heard("b", 2400, 2800)
    lines = call.end(heard("u", "Who is there?"), said("a", "Me."), said("b", "It is me.")).transcript
    assert [line.answer_ms for line in lines] == [None, None, 400]


def test_keys_and_reconnects_are_written_down(call):
    call.phone_presses("5", after_s=1.0)
    call.told(events.Reconnecting(reason="lost"), after_s=1.0)
    call.told(events.Reconnected(attempt=1, items=4), after_s=0.5)
    call.told(events.Reconnecting(reason="soon", planned=True), after_s=0.5)
    record = call.end()
    assert [(press.key, press.at_ms) for press in record.keys] == [("5", 1000)]
    assert [(each.start_ms, each.end_ms, each.planned, each.reason) for each in record.reconnects] == [
        (2000, 2500, False, "lost"),
        (3000, None, True, "soon"),
    ]
    assert call.folder.read_record() == record


def test_what_the_program_cut_off_is_no_barge_in(call):
    cut = ItemCut(item_id="b", heard_ms=300, audio_ms=2000, **PART)
    call.plays(PlaybackInterrupted(cuts=(cut,), by="program"))
    assert call.end().barge_ins == ()


def test_a_record_that_cannot_be_written_is_told_of_and_returned(call):
    call.folder.record.mkdir()
    record = call.end()
    assert any("write_record" in problem for problem in record.problems)
    assert msgspec.structs.replace(record, problems=()).disposition == "over"
