"""Our own audio beside the agent's in the bridge, one story a test; whole calls are in tests/simulation."""

import pybase64
import pytest
from support.bridge_call import MS, SID, Call

from realtime_bridge.transport import base
from telephony import own_audio
from telephony.bridge_commands import Played
from telephony.bridge_inputs import EndHold, Hold, Interrupt, LineEnded, ModelGone, Mute, MuteAgent, Play
from telephony.twilio.messages import ClearAudio, Mark, PlayMark, PlayMedia

OWN = b"\x22" * (400 * MS)
LOOP = b"\x33" * (1000 * MS)


def audio(call):
    return b"".join(frame.mulaw for frame in call.phone if isinstance(frame, PlayMedia))


def echo_last_mark(call, at):
    mark = next(frame for frame in reversed(call.phone) if isinstance(frame, PlayMark))
    call.feed(Mark(1, SID, mark.name), at)


def test_a_piece_is_sent_at_once_and_told_of_when_its_mark_comes_back():
    call = Call()
    call.feed(Play("p1", OWN), at=1.0)
    assert audio(call) == OWN
    assert isinstance(call.phone[-1], PlayMark)
    echo_last_mark(call, 1.4)
    assert call.others == [Played("p1", echoed=True)]
    assert call.reports == []
    call.run_until(10)
    assert call.others == [Played("p1", echoed=True)]


def test_a_mark_that_never_comes_is_not_waited_for_long():
    call = Call()
    call.feed(Play("p1", OWN), at=1.0)
    call.run_until(1.4 + own_audio.PATIENCE_S - 0.01)
    assert call.others == []
    call.run_until(1.4 + own_audio.PATIENCE_S + 0.01)
    assert call.others == [Played("p1", echoed=False)]


def test_a_piece_waits_for_the_end_of_what_the_agent_is_saying():
    call = Call()
    call.replies()
    call.says(200, at=1.0)
    call.feed(Play("p1", OWN), at=1.1)
    call.says(200, at=1.2)
    assert b"\x22" not in audio(call)
    call.ends(at=1.3)
    assert audio(call) == b"\x11" * (400 * MS) + OWN
    call.replies("r2")
    call.says(100, "i2", "r2")
    assert audio(call).endswith(OWN + b"\x11" * (100 * MS))


def test_an_empty_piece_tells_when_all_before_it_has_been_heard():
    call = Call()
    call.replies()
    call.says(1000, at=1.0)
    call.ends()
    call.forget()
    call.feed(Play("end", b""), at=1.1)
    assert [type(frame) for frame in call.phone] == [PlayMark]
    echo_last_mark(call, 2.0)
    assert call.others == [Played("end", echoed=True)]


def test_a_barge_in_leaves_a_lone_piece_alone():
    call = Call()
    call.feed(Play("p1", OWN), at=1.0)
    call.speech_starts(at=1.1)
    call.feed(Interrupt(), at=1.2)
    assert not any(isinstance(frame, ClearAudio) for frame in call.phone)
    assert call.heard(base.PlaybackInterrupted) == []
    assert call.sent("conversation.item.truncate") == []


def test_what_a_barge_in_throws_away_of_a_piece_is_sent_again():
    call = Call()
    call.feed(Play("p1", OWN), at=1.0)
    call.replies(at=1.05)
    call.says(1000, at=1.05)
    call.ends()
    call.forget()
    call.speech_starts(at=1.15)
    assert isinstance(call.phone[0], ClearAudio)
    assert audio(call) == OWN[: (400 - 140) * MS]  # from the frame on that was being heard
    [truncate] = call.sent("conversation.item.truncate")
    assert (truncate["item_id"], truncate["audio_end_ms"]) == ("i1", 0)
    [cut] = call.heard(base.PlaybackInterrupted)[0].cuts
    assert cut.item_id == "i1"
    echo_last_mark(call, 1.5)
    assert call.others == [Played("p1", echoed=True)]


def test_echoes_of_marks_that_a_clear_threw_away_end_no_piece():
    call = Call()
    call.feed(Play("p1", OWN), at=1.0)
    old = call.phone[-1].name
    call.replies(at=1.05)
    call.says(1000, at=1.05)
    call.speech_starts(at=1.1)
    call.feed(Mark(1, SID, old), 1.12)
    assert call.others == []


def test_pieces_come_in_order_and_too_many_are_refused():
    call = Call()
    call.replies()
    call.says(200, at=1.0)
    for n in range(own_audio.PIECES_MAX + 1):
        call.feed(Play(f"p{n}", bytes([n]) * 160), at=1.1)
    assert call.others == [Played(f"p{own_audio.PIECES_MAX}", echoed=False)]
    call.ends(at=1.2)
    assert audio(call)[200 * MS :] == b"".join(bytes([n]) * 160 for n in range(own_audio.PIECES_MAX))


def test_odd_lengths_become_whole_frames():
    call = Call()
    call.feed(Play("p1", b"\x22" * 161))
    assert audio(call) == b"\x22" * 161 + b"\xff" * 159


def test_a_piece_outlives_the_model_and_ends_with_the_line():
    call = Call()
    call.replies()
    call.says(210, at=1.0)
    call.feed(Play("p1", OWN), at=1.1)
    call.feed(ModelGone(), at=1.2)
    assert audio(call).endswith(OWN)
    call.feed(LineEnded(), at=1.3)
    assert [cut.item_id for report in call.heard(base.PlaybackInterrupted) for cut in report.cuts] == []


# ---- hold and mute -----------------------------------------------------------------------------------------------------


def test_on_hold_the_loop_plays_on_and_is_never_far_ahead():
    call = Call()
    call.feed(Hold(LOOP), at=1.0)
    for at in (2.0, 3.5, 7.25):
        call.run_until(at)
        played_ms = (at - 1.0) * 1000
        assert played_ms + 99 < len(audio(call)) / MS < played_ms + 1101
    call.feed(EndHold(), at=8.0)
    sent = len(audio(call))
    call.run_until(12.0)
    assert len(audio(call)) == sent
    assert set(audio(call)) == {0x33}
    assert call.reports == []


def test_on_hold_the_model_hears_silence_and_then_the_caller_again():
    call = Call()
    call.feed(Hold(b""))
    call.caller(at=0.02)
    call.feed(Mute(muted=False))
    call.caller(at=0.04)
    call.feed(EndHold())
    call.caller(at=0.06)
    heard = [pybase64.b64decode(event["audio"]) for event in call.sent("input_audio_buffer.append")]
    assert heard == [b"\xff" * 160, b"\xff" * 160, b"\x55" * 160]


def test_what_the_agent_says_on_hold_is_heard_afterwards():
    call = Call()
    call.feed(Hold(b""), at=1.0)
    call.replies(at=1.1)
    call.says(300, at=1.1)
    call.ends(at=1.2)
    assert audio(call) == b""
    call.feed(EndHold(), at=5.0)
    assert audio(call) == b"\x11" * (300 * MS)
    call.run_until(6.0)
    [finished] = call.heard(base.PlaybackFinished)
    assert (finished.item_id, finished.audio_ms) == ("i1", 300)


def test_what_the_agent_says_on_hold_can_be_interrupted_unheard():
    call = Call()
    call.feed(Hold(LOOP), at=1.0)
    call.replies(at=1.1)
    call.says(300, at=1.1)
    call.feed(Interrupt(), at=1.5)
    [truncate] = call.sent("conversation.item.truncate")
    assert truncate["audio_end_ms"] == 0
    call.run_until(3.0)
    call.feed(EndHold(), at=3.0)
    assert set(audio(call)) == {0x33}


def test_a_muted_agent_is_cut_off_and_what_it_says_then_is_withheld():
    call = Call()
    call.replies()
    call.says(1000, at=1.0)
    call.feed(MuteAgent(muted=True), at=1.3)
    assert [event["audio_end_ms"] for event in call.sent("conversation.item.truncate")] == [300]
    call.ends(at=1.4)
    call.forget()
    call.replies("r2", at=2.0)
    call.says(500, "i2", "r2", at=2.0)
    call.ends("r2", "i2", at=2.5)
    assert audio(call) == b""
    [truncate] = call.sent("conversation.item.truncate")
    assert (truncate["item_id"], truncate["audio_end_ms"]) == ("i2", 0)
    [interrupted] = call.heard(base.PlaybackInterrupted)
    assert (interrupted.by, interrupted.cuts[0].heard_ms, interrupted.cuts[0].audio_ms) == ("program", 0, 500)
    call.feed(MuteAgent(muted=False), at=3.0)
    call.replies("r3", at=4.0)
    call.says(100, "i3", "r3", at=4.0)
    assert audio(call) == b"\x11" * (100 * MS)


def test_own_audio_is_heard_while_the_agent_is_muted_or_the_caller_on_hold():
    call = Call()
    call.feed(MuteAgent(muted=True))
    call.replies(at=1.0)
    call.says(300, at=1.0)
    call.feed(Play("p1", OWN), at=1.1)
    assert audio(call) == OWN


@pytest.mark.parametrize("again", [MuteAgent(muted=True), MuteAgent(muted=False)])
def test_muting_twice_is_muting_once(again):
    call = Call()
    call.feed(MuteAgent(muted=again.muted))
    call.replies(at=1.0)
    call.says(300, at=1.0)
    call.forget()
    call.feed(again, at=1.1)
    assert call.sent("conversation.item.truncate") == []
    assert call.heard(base.PlaybackInterrupted) == []
