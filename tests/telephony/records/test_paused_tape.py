"""A recording that was paused: nothing of the pause is on the tape, and the tape replays from its first to its last second."""

import wave

import msgspec
import numpy as np
import pytest
from support.steered_call import SPEECH, SteeredCall

from realtime_bridge import tool
from realtime_bridge.localmodel.parts import CallTool
from realtime_bridge.localmodel.parts import Say as SayThis
from realtime_bridge.tape import Source, read_tape
from telephony.records.blanking import Blanking
from telephony.records.folder import CallFolder
from telephony.replay.verify import verify_tape
from telephony.testing import HangUp, Pause, Say, WaitForAgent

CARD = "4111 2222"


@tool
def pay(card: str) -> str:
    """Pay."""
    return f"paid with {card}"


def call_with_a_pause(data_dir, pause_s, resume_s, **options):
    """Greeting to 1.3 s; the card is named by agent and tool from 3.2 to 5.8 s; goodbye at 7.8 s."""
    call = SteeredCall(
        [SayThis("Good morning at the desk.")],
        [SayThis(f"Your card is {CARD}."), CallTool("pay", {"card": CARD})],
        [SayThis(f"Paid with {CARD}, done.")],
        [SayThis("Goodbye then.")],
        tools=[pay],
        data_dir=data_dir,
        **options,
    )
    call.at(pause_s, lambda call: call.control.recording.pause() and None)
    if resume_s is not None:
        call.at(resume_s, lambda call: call.control.recording.resume() and None)
    call.run([WaitForAgent(), Say(SPEECH), Pause(500), WaitForAgent(), Say(SPEECH), WaitForAgent(), HangUp()])
    return CallFolder(data_dir, call.phone.ids.call_sid)


def said_on(tape, start_s, end_s):
    return b"\n".join(record.payload for record in read_tape(tape.read_bytes()) if start_s <= record.time < end_s)


def test_nothing_of_a_pause_is_on_the_tape_and_the_rest_is(tmp_path):
    folder = call_with_a_pause(tmp_path, 1.5, 6.5)
    verified = verify_tape(folder.tape)
    assert verified.differences == []
    assert verified.torn is None
    everything = said_on(folder.tape, 0, 1000)
    for secret in ("4111", "2222", "paid with"):
        assert secret.encode() not in everything
    assert "Good morning at the desk." in said_on(folder.tape, 0, 1.5).decode()
    assert "••••" in said_on(folder.tape, 1.5, 6.5).decode()
    assert "Goodbye then." in said_on(folder.tape, 6.5, 1000).decode()


@pytest.mark.parametrize(("pause_s", "resume_s"), [(1.5, 6.5), (3.0, None)])
def test_a_fresh_model_is_told_of_the_pause_and_the_tape_is_not(pause_s, resume_s, tmp_path):
    folder = call_with_a_pause(tmp_path, pause_s, resume_s, rotate_after_s=6.6)
    verified = verify_tape(folder.tape)
    assert verified.differences == []
    everything = said_on(folder.tape, 0, 1000)
    assert everything.count(b'{"type":"session.update"') > 1
    assert b"conversation.item.create" in said_on(folder.tape, 6.5, 1000)
    assert b"4111" not in everything


def test_without_a_pause_it_would_be(tmp_path):
    folder = call_with_a_pause(tmp_path, 1000.0, None)
    assert b"paid with 4111 2222" in said_on(folder.tape, 0, 1000)


@pytest.mark.parametrize(
    ("pause_s", "resume_s"), [(0.0, 2.0), (0.5, 0.9), (2.3, 2.6), (3.0, None), (4.0, 6.2), (6.0, 6.0), (7.0, 8.0)]
)
def test_a_tape_replays_wherever_it_was_paused(pause_s, resume_s, tmp_path):
    verified = verify_tape(call_with_a_pause(tmp_path, pause_s, resume_s).tape)
    assert verified.differences == []
    assert verified.answers > 500


def test_the_audio_of_a_pause_is_silence_on_tape_and_recording(tmp_path):
    folder = call_with_a_pause(tmp_path, 1.5, 6.5)
    with wave.open(str(folder.recording)) as file:
        sound = np.abs(np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)).astype(int)
    assert sound[: 1 * 8000, 1].max() > 1000
    assert sound[int(1.6 * 8000) : int(6.4 * 8000)].max() == 0
    assert sound[int(6.5 * 8000) :, 1].max() > 1000
    for record in read_tape(folder.tape.read_bytes()):
        if record.source is Source.PHONE and 1.7 < record.time < 6.4 and b'"media"' in record.payload:
            assert b'"payload":"////' in record.payload


# ---- what is blanked -------------------------------------------------------------------------------------------------------


def blanked(blanking, event, **how):
    return msgspec.json.decode(blanking.frame(msgspec.json.encode(event), **how))


def test_words_become_dots_letter_by_letter():
    blanking = Blanking("pcm")
    blanking.paused = True
    event = {"type": "response.output_audio_transcript.delta", "item_id": "i", "delta": "It is 41-11, oké?"}
    assert blanked(blanking, event) == {**event, "delta": "•• •• ••-••, •••?"}


@pytest.mark.parametrize(("audio", "silence"), [("pcm", "AAAA"), ("pcmu", "////")])
def test_audio_becomes_silence_of_the_same_length(audio, silence):
    blanking = Blanking(audio)
    blanking.paused = True
    assert blanked(blanking, {"type": "response.output_audio.delta", "delta": "c291bmQx"})["delta"] == 2 * silence
    assert blanked(blanking, {"type": "response.output_audio.delta", "delta": "no base64"})["delta"] == ""
    assert blanked(blanking, {"event": "media", "media": {"payload": "c291bmQx"}})["media"]["payload"] == "////////"


def test_keys_become_a_key():
    blanking = Blanking("pcm")
    blanking.paused = True
    assert blanked(blanking, {"event": "dtmf", "dtmf": {"digit": "4"}}) == {"event": "dtmf", "dtmf": {"digit": "0"}}


def test_what_comes_late_goes_by_what_was_said_in_the_pause():
    blanking = Blanking("pcm")
    blanking.paused = True
    blanked(blanking, {"type": "input_audio_buffer.speech_started", "item_id": "secret"})
    blanking.paused = False
    late = {"type": "transcription", "item_id": "secret", "transcript": "4111", "logprobs": [{"token": "4111"}]}
    assert blanked(blanking, late) == {"type": "transcription", "item_id": "secret", "transcript": "••••"}
    told = {"item": {"id": "secret", "content": [{"type": "input_text", "text": "4111"}]}, "other": {"text": "kept"}}
    assert blanked(blanking, told)["item"]["content"] == [{"type": "input_text", "text": "••••"}]
    assert blanked(blanking, told)["other"] == {"text": "kept"}
    assert blanked(blanking, {"item_id": "another", "text": "kept"})["text"] == "kept"


def test_how_the_program_is_made_is_kept():
    blanking = Blanking("pcm")
    blanking.paused = True
    event = {"type": "session.update", "session": {"instructions": "Be kind."}, "usage": {"text": "3"}}
    assert blanked(blanking, event) == event


def test_without_a_pause_frames_are_left_as_they_are():
    blanking = Blanking("pcm")
    assert blanking.frame(b"\xff no JSON") == b"\xff no JSON"
    assert blanking.frame(b"\xff no JSON", hide=True) == b""


def test_a_late_frame_can_be_hidden_by_itself():
    event = {"event": "media", "media": {"payload": "c291bmQx"}}
    assert blanked(Blanking("pcm"), event, hide=True)["media"]["payload"] == "////////"
