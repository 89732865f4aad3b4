"""call.wav: both sides on their channels, sample by sample, whole after a crash."""

import asyncio
import random
import signal
import subprocess
import sys
import textwrap
import wave
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from realtime_bridge.audio.g711 import mulaw_to_pcm16
from realtime_bridge.errors import MisuseError
from realtime_bridge.tape import InlineDisk
from telephony.records.recording_file import RecordingFile, read_envelopes, wav_header

FRAME = 160


def record(path, call, **options):
    """Run `call(recording)` and return the problems that were reported."""

    async def run():
        recording = RecordingFile(path, InlineDisk(), on_problem=problems.append, **options)
        call(recording)
        await recording.close()

    problems = []
    asyncio.run(run())
    return problems


def channels(path):
    with wave.open(str(path), "rb") as f:
        assert (f.getnchannels(), f.getsampwidth(), f.getframerate()) == (2, 2, 8000)
        both = np.frombuffer(f.readframes(f.getnframes()), "<i2").reshape(-1, 2)
    return both[:, 0], both[:, 1]


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


def linear(mulaw):
    return np.frombuffer(mulaw_to_pcm16(mulaw), "<i2")


def test_each_side_has_its_channel_and_its_time(tmp_path):
    caller, agent = noise(50 * FRAME, 1), noise(8000, 2)

    def call(recording):
        recording.agent_audio(agent)
        for i in range(50):
            recording.caller_audio(100 + i * 20, caller[i * FRAME : (i + 1) * FRAME])
        recording.agent_played(0, 8000, 2000.25)

    assert record(tmp_path / "call.wav", call) == []
    left, right = channels(tmp_path / "call.wav")
    assert np.array_equal(left[800:8800], linear(caller))
    assert np.array_equal(right[16_002:24_002], linear(agent))
    assert not left[:800].any()
    assert not left[8800:].any()
    assert not right[:16_002].any()
    assert len(left) == 24_002
    assert (tmp_path / "call.wav").stat().st_mode & 0o777 == 0o600


def test_an_hour_does_not_drift(tmp_path):
    """Both sides carry the same click at the same moment, every ten seconds; the agent's spans come seconds late."""
    click = bytes([0x80, 0x00] * 80)
    quiet = b"\xff" * FRAME

    def call(recording):
        for second in range(3600):
            for frame in range(50):
                recording.caller_audio(second * 1000 + frame * 20, click if second % 10 == 0 and frame == 7 else quiet)
            if second % 10 == 0:
                recording.agent_audio(click)
            if second % 10 == 5:
                wire = second // 10 * FRAME
                recording.agent_played(wire, wire + FRAME, (second - 5) * 1000 + 140)

    assert record(tmp_path / "call.wav", call) == []
    left, right = channels(tmp_path / "call.wav")
    assert len(left) == 3600 * 8000
    expected = np.arange(360) * 80_000 + 140 * 8
    assert np.array_equal(np.flatnonzero(np.diff((left != 0).astype(np.int8)) == 1) + 1, expected)
    assert np.array_equal(left, right)
    (tmp_path / "call.wav").unlink()  # 115 MB


def test_speech_is_found_by_correlation_where_it_was_heard(tmp_path):
    """Speech-like noise, sent in bursts and played in pieces: the two channels correlate best at the true distance."""
    speech = noise(24_000, 3)

    def call(recording):
        for i in range(150):
            recording.caller_audio(500 + i * 20, speech[i * FRAME : (i + 1) * FRAME])
        recording.agent_audio(speech[:20_000])
        recording.agent_audio(speech[20_000:])
        for start in range(0, 24_000, 1500):
            recording.agent_played(start, start + 1500, 737.5 + start / 8)

    record(tmp_path / "call.wav", call)
    left, right = (side.astype(np.float64) for side in channels(tmp_path / "call.wav"))
    correlation = np.fft.irfft(np.fft.rfft(right, 2**17) * np.fft.rfft(left, 2**17).conj())
    assert np.argmax(correlation) == (737.5 - 500) * 8


def test_a_span_told_long_after_goes_into_what_is_written_already(tmp_path):
    caller, agent = noise(60_000 * 8, 1), noise(200_000, 2)

    def call(recording):
        recording.agent_audio(agent)
        for i in range(0, len(caller), FRAME):
            recording.caller_audio(i // 8, caller[i : i + FRAME])
        recording.agent_played(0, 200_000, 1000.0)

    record(tmp_path / "call.wav", call)
    left, right = channels(tmp_path / "call.wav")
    assert np.array_equal(left, linear(caller))
    assert np.array_equal(right[8000:208_000], linear(agent))


def test_a_real_disk_thread_writes_the_same(tmp_path):
    async def run():
        with ThreadPoolExecutor(2) as disk:
            recording = RecordingFile(tmp_path / "call.wav", disk, on_problem=problems.append)
            for i in range(1000):
                recording.caller_audio(i * 20, caller[i * FRAME : (i + 1) * FRAME])
            await recording.close()
            await recording.close()

    problems = []
    caller = noise(1000 * FRAME)
    asyncio.run(run())
    assert problems == []
    assert np.array_equal(channels(tmp_path / "call.wav")[0], linear(caller))


def test_a_call_without_audio_leaves_an_empty_recording(tmp_path):
    assert record(tmp_path / "call.wav", lambda _: None) == []
    assert (tmp_path / "call.wav").read_bytes() == wav_header(0)
    assert len(channels(tmp_path / "call.wav")[0]) == 0


def test_audio_left_out_for_a_limit_is_reported(tmp_path):
    problems = record(tmp_path / "call.wav", lambda r: r.caller_audio(2000, bytes(FRAME)), length_ms_max=1000)
    assert problems == ["160 bytes of audio are not in the recording: it or its backlog grew too long"]


def test_a_length_that_no_wav_file_can_have_is_refused(tmp_path):
    with pytest.raises(MisuseError, match="length_ms_max"):
        RecordingFile(tmp_path / "call.wav", InlineDisk(), on_problem=print, length_ms_max=2**40)


def test_trouble_with_the_disk_ends_the_recording_not_the_call(tmp_path):
    def call(recording):
        recording.agent_audio(bytes(10**6))
        for i in range(10_000):
            recording.caller_audio(i * 20, bytes(FRAME))
        recording.agent_played(0, 10**6, 0.0)

    problems = record(tmp_path / "gone" / "call.wav", call)
    assert len(problems) == 1
    assert "No such file" in problems[0]


RECORD_UNTIL_KILLED = """
    import sys
    from pathlib import Path
    from realtime_bridge.tape import InlineDisk
    from telephony.records.recording_file import RecordingFile

    recording = RecordingFile(Path(sys.argv[1]), InlineDisk(), on_problem=print)
    i = 0
    while i < 700_000:
        recording.agent_audio(bytes([i % 251]) * 160)
        recording.caller_audio(i * 20, bytes([i % 241]) * 160)
        recording.agent_played(i * 160, i * 160 + 160, i * 20.0)
        i += 1
"""


def test_after_kill_9_the_recording_can_be_played(tmp_path):
    path = tmp_path / "call.wav"
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(RECORD_UNTIL_KILLED), str(path)]) as process:
        while not path.exists() or path.stat().st_size < 2_000_000:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    left, right = channels(path)
    assert len(left) >= 200_000
    assert len(left) * 4 + 44 <= path.stat().st_size
    frames = len(left) // FRAME
    values = linear(bytes(range(256)))
    assert np.array_equal(left[: frames * FRAME], np.repeat(values[np.arange(frames) % 241], FRAME))
    assert np.array_equal(right[: frames * FRAME], np.repeat(values[np.arange(frames) % 251], FRAME))


def test_envelopes_are_the_peaks_of_each_bucket(tmp_path):
    def call(recording):
        recording.caller_audio(0, b"\xff" * 160 + b"\x00" + b"\xff" * 159)
        recording.agent_audio(b"\x80" * 40)
        recording.agent_played(0, 40, 45.0)

    record(tmp_path / "call.wav", call)
    caller, agent = read_envelopes(tmp_path / "call.wav", 20)
    assert caller.tolist() == [0.0, 32124 / 32768, 0.0]
    assert agent.tolist() == [0.0, 0.0, 32124 / 32768]


def test_an_envelope_of_a_long_recording_has_a_value_for_each_bucket(tmp_path):
    def call(recording):
        for i in range(3000):
            recording.caller_audio(i * 20, bytes([0x80 if i % 2 else 0xFF]) * FRAME)

    record(tmp_path / "call.wav", call)
    caller, agent = read_envelopes(tmp_path / "call.wav", 20)
    assert caller.tolist() == [0.0, 32124 / 32768] * 1500
    assert not agent.any()


def test_a_file_that_is_no_recording_of_a_call_is_refused(tmp_path):
    with wave.open(str(tmp_path / "mono.wav"), "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(8000)
    with pytest.raises(wave.Error, match="stereo"):
        read_envelopes(tmp_path / "mono.wav", 20)
