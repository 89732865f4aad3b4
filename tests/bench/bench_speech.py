"""What the offline model's ears and voice cost, and how well they hear over mu-law.

    python tests/bench/bench_speech.py
    python tests/bench/bench_speech.py --prompts /usr/share/asterisk/sounds/en_US_f_Allison \
        --transcripts /usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz

The second form adds the prompts of Debian's packages `asterisk-core-sounds-en-wav` and `asterisk-core-sounds-en`: those
of three to sixteen words, each taken for one utterance of a caller.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import sys
import time
from pathlib import Path

import jiwer
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # for `support`, when run as a program
from support.speech import RATE, Samples, Utterance, in_quiet, librivox, over_the_phone, plain_words, read_wav, to_mulaw

from realtime_bridge.localmodel.formats import for_recognizer
from realtime_bridge.localmodel.hibari_voice import HibariVoice
from realtime_bridge.localmodel.moonshine import MoonshineRecognizer
from realtime_bridge.localmodel.silero import WINDOW_SAMPLES, SileroVad
from realtime_bridge.localmodel.turns import SpeechStarted, SpeechStopped, TurnDetector, TurnSettings

FRAME_SAMPLES = 160
SILENCE_MS = 300
BEFORE_MS, AFTER_MS = 600, 1200
SENTENCES = [
    "Hello, this is the front desk, how can I help you today?",
    "Your order is ready, and the total is $42.50.",
    "I have booked a table for four on Friday at 7:15 p.m.",
    "One moment, please.",
    "Is there anything else I can do for you?",
]

Figures = dict[str, float | int]


def prompts(folder: Path, transcripts: Path) -> list[Utterance]:
    """The prompts that say what a transcript line (`name: words`) claims; stage directions and fragments left out."""
    opener = gzip.open if transcripts.suffix == ".gz" else open
    with opener(transcripts, "rt", encoding="utf-8") as lines:
        named = [line.strip().split(": ", 1) for line in lines if ": " in line and not line.startswith(";")]
    return [
        Utterance(name, words, read_wav(folder / f"{name}.wav"))
        for name, words in named
        if 3 <= len(plain_words(words).split()) <= 16
        and not any(sign in words for sign in "[(<*#")
        and "..." not in words
        and (folder / f"{name}.wav").exists()
    ]


def percentiles(name: str, values: list[float], digits: int = 0) -> Figures:
    return {f"{name}_p{rank}": round(float(np.percentile(values, rank)), digits) for rank in (50, 95)}


def vad_figures() -> Figures:
    vad = SileroVad()
    speech = np.concatenate([clip.samples for clip in librivox()])
    took_us = []
    for at in range(0, speech.size - WINDOW_SAMPLES, WINDOW_SAMPLES):
        begin = time.perf_counter()
        vad.probability(speech[at : at + WINDOW_SAMPLES])
        took_us.append((time.perf_counter() - begin) * 1e6)
    return percentiles("vad_us_per_32_ms", took_us)


def voice_figures() -> Figures:
    begin = time.perf_counter()
    voice = HibariVoice()
    load_ms = round((time.perf_counter() - begin) * 1e3)
    took_ms, audio_s = [], 0.0
    for _ in range(4):
        for sentence in SENTENCES:
            begin = time.perf_counter()
            (_, audio), *_ = voice.speak(sentence)
            took_ms.append((time.perf_counter() - begin) * 1e3)
            audio_s += audio.size / voice.sample_rate
    speed = {"voice_times_real_time": round(audio_s / sum(took_ms) * 1e3), "voice_load_ms": load_ms}
    return percentiles("voice_ms_per_sentence", took_ms) | speed


def speech_bounds_ms(samples: Samples) -> tuple[int, int]:
    """Where the sound is within 30 dB of its loud parts: first and last 10 ms."""
    frames = samples[: samples.size // 80 * 80].reshape(-1, 80)
    level_db = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-10)
    loud = np.flatnonzero(level_db > np.percentile(level_db, 95) - 30)
    return int(loud[0]) * 10, int(loud[-1] + 1) * 10


def hearing_figures(utterances: list[Utterance]) -> Figures:
    """Each utterance is a call of its own: 20 ms frames of mu-law in, turns and words out."""
    recognizer = MoonshineRecognizer()
    said, heard, one_turn = [], [], 0
    started_ms, recognised_ms, text_ms = [], [], []
    for utterance in utterances:
        line = over_the_phone(in_quiet(utterance.samples, before_ms=BEFORE_MS, after_ms=AFTER_MS))
        begin_ms, end_ms = (BEFORE_MS + bound for bound in speech_bounds_ms(utterance.samples))
        ear, words, starts = TurnDetector(SileroVad(), TurnSettings(silence_duration_ms=SILENCE_MS)), [], []
        for at in range(0, line.size, FRAME_SAMPLES):
            for event in ear.feed(line[at : at + FRAME_SAMPLES]):
                fed_ms = (at + FRAME_SAMPLES) * 1000 / RATE
                if isinstance(event, SpeechStarted):
                    starts.append((event.audio_start_ms, fed_ms))
                elif isinstance(event, SpeechStopped):
                    turn = to_mulaw(line)[starts[-1][0] * 8 : event.audio_end_ms * 8]
                    begin = time.perf_counter()
                    words.append(recognizer.transcribe(for_recognizer(turn, "audio/pcmu")))
                    recognised_ms.append((time.perf_counter() - begin) * 1e3)
                    text_ms.append(fed_ms - end_ms + recognised_ms[-1])
        one_turn += len(starts) == 1
        started_ms.append(starts[0][1] - begin_ms if starts else float("nan"))
        said.append(plain_words(utterance.words))
        heard.append(plain_words(" ".join(words)))
    return (
        {"utterances": len(utterances), "heard_as_one_turn": one_turn}
        | percentiles("onset_to_speech_started_ms", started_ms)
        | percentiles("recognition_ms", recognised_ms)
        | percentiles(f"end_of_speech_to_text_ms_at_{SILENCE_MS}", text_ms)
        | {"word_error_percent": round(100 * jiwer.wer(said, heard), 1)}
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--prompts", type=Path, help="folder of 8 kHz mono WAV files")
    options.add_argument("--transcripts", type=Path, help="their words, lines of `name: words`; may be gzipped")
    chosen = options.parse_args()
    utterances = librivox()
    if chosen.prompts and chosen.transcripts:
        utterances += prompts(chosen.prompts, chosen.transcripts)
    figures = vad_figures() | voice_figures() | hearing_figures(utterances)
    figures["resident_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
