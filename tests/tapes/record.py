"""Records the regression set anew: `python tests/tapes/record.py [NAME…]`, with the extras `local` and `dev`.

The calls are made in virtual time and always go the same way, but for their date. A tape that is recorded anew guards
against nothing that the program of today does wrong: look at what changed (`realtime-bridge replay tests/tapes`) first.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from calls import CALLS, ring  # noqa: E402 - found by the line above

from realtime_bridge.localmodel.hibari_voice import HibariVoice  # noqa: E402 - as above
from realtime_bridge.localmodel.moonshine import MoonshineRecognizer  # noqa: E402 - as above


def main() -> None:
    recognizer, voice = MoonshineRecognizer(), HibariVoice()
    for name in sys.argv[1:] or CALLS:
        with tempfile.TemporaryDirectory() as directory:
            tape = ring(CALLS[name], Path(directory), recognizer=recognizer, voice=voice).read_bytes()
        (HERE / f"{name}.tape").write_bytes(tape)
        print(f"{name}: {len(tape)} bytes")  # noqa: T201 - a program's output


if __name__ == "__main__":
    main()
