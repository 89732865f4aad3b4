"""How long `replay --verify` takes for an hour of calls, on one core: `python tests/bench/bench_replay.py [MINUTES]`.

The calls are the demo's (a recorded caller, a tool, an approval, an interruption, a hand-off), recorded in virtual time,
with the model's audio as PCM and as mu-law; each is replayed until so many minutes have been (default: 60).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from telephony.demo.ring import ring_fast
from telephony.replay.verify import verify_tape
from telephony.settings import Settings


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    sys.stdout.write("audio  MB per minute  CPU seconds per hour of calls\n")
    for audio in ("pcm", "pcmu"):
        with tempfile.TemporaryDirectory() as directory:
            settings = Settings(_env_file=None, data_dir=Path(directory), realtime_audio=audio, twilio_auth_token=None)
            result, _ = ring_fast(settings=settings, on_event=lambda _event: None)
            tape = Path(result["tape"])
            replayed_s = 0.0
            began = time.process_time()
            while replayed_s < minutes * 60:
                verification = verify_tape(tape)
                assert verification.identical, verification.differences[0]
                replayed_s += verification.seconds
            took_s = (time.process_time() - began) * 3600 / replayed_s
            size_mb = tape.stat().st_size / 1e6 / (verification.seconds / 60)
        sys.stdout.write(f"{audio:5}  {size_mb:13.2f}  {took_s:10.1f}\n")


if __name__ == "__main__":
    main()
