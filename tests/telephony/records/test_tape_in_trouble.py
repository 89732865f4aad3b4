"""Tapes of calls whose process is killed, whose disk is full, whose sides never fall silent; and sealed ones."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pybase64
import pytest
from support.steered_call import SPEECH, SteeredCall

from realtime_bridge.audio.transcode import transcoder
from realtime_bridge.localmodel.parts import Say as SayThis
from realtime_bridge.tape import InlineDisk, TapeError, TapeFile, TapeKey, TapeKeys
from realtime_bridge.wire import client, decode_server_event
from telephony.bridge import Bridge
from telephony.bridge_commands import ToModel, ToPhone
from telephony.calls.recording_policy import RecordingPolicy
from telephony.records.blanking import Blanking
from telephony.records.call_tape import CallTape
from telephony.records.folder import CallFolder
from telephony.replay.verify import verify_tape
from telephony.testing import HangUp, Pause, Say, WaitForAgent
from telephony.twilio.media_stream import MediaStreamReader, PhoneSideWriter

TESTS = Path(__file__).parents[2]
CALL_IN_A_PROCESS = """
    import sys
    from pathlib import Path
    from support.steered_call import SPEECH, SteeredCall
    from realtime_bridge.localmodel.parts import Say as SayThis
    from telephony.testing import HangUp, Pause, Say, WaitForAgent

    seconds = int(sys.argv[2])
    call = SteeredCall(*[[SayThis("I have a great deal to tell you today.")]] * 1000, data_dir=Path(sys.argv[1]))
    for second in range(seconds):
        call.at(second, lambda call, second=second: print(second, flush=True))
    call.run([WaitForAgent(), *[Say(SPEECH), WaitForAgent()] * (seconds // 6), Pause(1000), HangUp()])
"""


def test_a_call_whose_process_is_killed_replays_up_to_the_last_second(tmp_path):
    seconds = 3000  # in virtual time: it would take minutes
    command = [sys.executable, "-c", textwrap.dedent(CALL_IN_A_PROCESS), str(tmp_path), str(seconds)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        while int(last := process.stdout.readline()) < 20:
            pass
        process.send_signal(signal.SIGKILL)
        *_, last = last, *process.stdout
    [tape] = tmp_path.glob("calls/*/call.tape")
    verified = verify_tape(tape)
    assert verified.differences == []
    assert verified.torn is not None
    assert verified.seconds >= int(last) - 1.0


@contextmanager
def files_no_longer_than(size_bytes):
    """As long as this lasts, a write fails as on a full disk: part of it goes through, the rest does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_the_records_and_not_the_call(tmp_path):
    call = SteeredCall(*[[SayThis("I have a great deal to tell you today.")]] * 10, data_dir=tmp_path)
    with files_no_longer_than(60_000):
        call.run([WaitForAgent(), *[Say(SPEECH), WaitForAgent()] * 3, HangUp()])
    assert [role for role, _, cut in call.history if not cut].count("assistant") == 4
    folder = CallFolder(tmp_path, call.phone.ids.call_sid)
    problems = "\n".join(folder.read_record().problems)
    assert "call.tape is not whole" in problems
    assert "call.wav is not whole" in problems
    verified = verify_tape(folder.tape)
    assert verified.differences == []
    assert verified.torn is not None


# ---- sealed ----------------------------------------------------------------------------------------------------------------


def test_a_sealed_tape_replays_with_its_key_and_tells_nothing_without(tmp_path):
    key = TapeKey(b"k" * 32)
    call = SteeredCall([SayThis("Good morning.")], data_dir=tmp_path, recording=RecordingPolicy(key=key))
    call.run([WaitForAgent(), Say(SPEECH), Pause(500), HangUp()])
    folder = CallFolder(tmp_path, call.phone.ids.call_sid)
    with pytest.raises(TapeError, match=key.key_id):
        verify_tape(folder.tape)
    verified = verify_tape(folder.tape, TapeKeys([key]))
    assert verified.identical
    assert verified.torn is None
    assert call.ending.record.problems == ()
    for path in (folder.tape, folder.recording):
        assert b"Good morning" not in path.read_bytes()
        assert b"RIFF" not in path.read_bytes()


# ---- how long a tape becomes -----------------------------------------------------------------------------------------------

MB_A_MINUTE_MAX = {"pcm": 4.0, "pcmu": 1.5}
SECONDS = 20


def talk_without_end(audio, path):
    """The tape of a call in which both sides talk all the time, and noise at that, which nothing can pack."""
    noise = Random(7)
    converter = transcoder(audio)
    bridge = Bridge("MZ" + "5" * 32, converter, now=0.0)
    problems = []
    file = TapeFile(path, InlineDisk(), created_at=datetime.now(UTC), metadata={}, on_problem=problems.append)
    tape = CallTape(file, Blanking(audio), began=0.0)
    tape.bridge_made(bridge)
    reader, phone = MediaStreamReader(), PhoneSideWriter(stream_sid="MZ" + "5" * 32, account_sid="AC1", call_sid="CA1")
    for frame in (phone.connected(), phone.start({})):
        reader.receive(frame)

    def answered(event, now):
        for command in bridge.handle(event, now):
            if isinstance(command, ToPhone | ToModel):
                tape.bridge_answer(command, now)

    update = client.SessionUpdate(session={"audio": {}})
    tape.program_input(update, 0.0)
    answered(update, 0.0)

    def model_says(frame, now):
        tape.model_frame(frame, now)
        answered(decode_server_event(frame), now)

    model_says(b'{"type":"session.updated","event_id":"e","session":{"type":"realtime","audio":{}}}', 0.0)
    for n in range(SECONDS * 50):
        now = n * 0.02
        frame = phone.media(noise.randbytes(160), n * 20)
        tape.phone_frame(frame, now)
        answered(reader.receive(frame), now)
        if n % 5 == 0:
            sound = pybase64.b64encode(noise.randbytes(100 * converter.model_bytes_per_ms)).decode()
            model_says(
                b'{"type":"response.output_audio.delta","event_id":"event_%d","response_id":"resp_1","item_id":"item_%d",'
                b'"output_index":0,"content_index":0,"delta":"%b"}' % (n, n // 500, sound.encode()),
                now,
            )
    asyncio.run(tape.close())
    assert problems == []


@pytest.mark.parametrize("audio", ["pcm", "pcmu"])
def test_a_minute_of_tape_is_short_even_if_nobody_ever_falls_silent(audio, tmp_path):
    talk_without_end(audio, tmp_path / "call.tape")
    size_mb = (tmp_path / "call.tape").stat().st_size / 1e6
    sound_mb = SECONDS * 8 * (1 + transcoder(audio).model_bytes_per_ms / 8) / 1e3
    assert sound_mb < size_mb < MB_A_MINUTE_MAX[audio] * SECONDS / 60
