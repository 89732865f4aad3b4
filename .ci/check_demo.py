"""Was the demo's call a real one? Checks what `realtime-bridge demo --json` printed, and listens to the recording.

    python check_demo.py demo.json

Run it where the demo ran (the paths in the result are relative), with the packages of `realtime-bridge[local]`.
"""

import difflib
import json
import re
import sys
import wave
from pathlib import Path

import numpy as np

from realtime_bridge.audio.g711 import pcm16_to_mulaw
from realtime_bridge.localmodel.formats import for_recognizer
from realtime_bridge.localmodel.moonshine import MoonshineRecognizer
from realtime_bridge.localmodel.silero import SileroVad
from realtime_bridge.localmodel.turns import SpeechStarted, SpeechStopped, TurnDetector, TurnSettings

HEARD_DIFFERENCE_MS_MAX = 20
# Of the words in the transcript, those that the recording must hold in the same order. Both are recognised or written
# by the same parts, so little is lost; a cut word, or digits read one by one, are.
WORDS_FOUND_MIN = 0.8
RATE = 8000


def check(result: dict) -> list[str]:
    """What is wrong with the result, apart from its sound."""
    wrong = []
    if result["ok"] is not True:
        wrong.append(f"not ok: {result.get('failures')}")
    wrong += [f"no {name}" for name in ("tools", "handoffs", "barge_ins", "transcript") if not result[name]]
    wrong += [
        f"truncated at {b['audio_end_ms']} ms, heard {b['heard_ms_true']} ms"
        for b in result["barge_ins"]
        if abs(b["audio_end_ms"] - b["heard_ms_true"]) > HEARD_DIFFERENCE_MS_MAX
    ]
    wrong += [f"no {name} at {result[name]}" for name in ("recording", "tape", "timeline") if not _has(result[name])]
    return wrong


def _has(path: str) -> bool:
    return Path(path).is_file() and Path(path).stat().st_size > 0


def listen(pcm16: np.ndarray, recognizer: MoonshineRecognizer) -> str:
    """All words spoken on one side of the line."""
    silence = np.zeros(RATE, np.int16)  # so that the last turn ends
    audio = np.concatenate([pcm16, silence])
    detector = TurnDetector(SileroVad(), TurnSettings())
    words, start = [], 0
    for event in detector.feed(audio.astype(np.float32) / 32768):
        match event:
            case SpeechStarted(audio_start_ms=start):
                pass
            case SpeechStopped(audio_end_ms=end):
                turn = audio[start * RATE // 1000 : end * RATE // 1000].astype("<i2").tobytes()
                words.append(recognizer.transcribe(for_recognizer(pcm16_to_mulaw(turn), "audio/pcmu")))
    return " ".join(words)


def share_found(said: str, heard: str) -> float:
    """How much of what was said is in what was heard: words, in order."""
    words, found = _words(said), _words(heard)
    blocks = difflib.SequenceMatcher(None, words, found, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / max(1, len(words))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+|\d", text.lower().replace("\u2019", "'"))


def main() -> None:
    """Exit status 1, and a line for each fault, if the demo did not do what it should."""
    result = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    wrong = check(result)
    for barge_in in result["barge_ins"]:
        print(f"barge-in: truncated at {barge_in['audio_end_ms']} ms, heard {barge_in['heard_ms_true']:.0f} ms")
    with wave.open(result["recording"]) as file:
        if (file.getnchannels(), file.getframerate(), file.getsampwidth()) != (2, RATE, 2):
            wrong.append(f"the recording is no 16-bit stereo at {RATE} Hz")
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
    recognizer = MoonshineRecognizer()
    for channel, role in ((0, "user"), (-1, "assistant")):  # caller left, agent right
        said = " ".join(line["text"] for line in result["transcript"] if line["role"] == role)
        heard = listen(sound[:, channel], recognizer)
        share = share_found(said, heard)
        print(f"{role}, as the recording has it ({share:.0%} of the transcript): {heard}")
        if share < WORDS_FOUND_MIN:
            wrong.append(f"the recording holds too little of what the {role} said: {said!r}")
    for fault in wrong:
        print(f"wrong: {fault}", file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
