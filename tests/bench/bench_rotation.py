"""What a caller notices of model sessions that live for twenty seconds, and of a model that is killed while it speaks.

    python tests/bench/bench_rotation.py [--runs undisturbed rotated killed] [--speed 1.5] [--seconds 20]

The real phone server and a real `realtime-bridge local-model` process, real speech both ways, in real time: some two
minutes a run. A tool and an approval are waited for for 18 s each, longer than a session has left. `killed`: the process
gets SIGKILL one second into a reply, twice, while each of the two is waited for, and is started again at once. Figures are
the phone's: silences before and inside each answer, beside the same answer of the undisturbed run. The agent's voice is
sent at 1.5 times real time, so that a killed model has not said everything already.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from openai import AsyncOpenAI
from progress import progress

sys.path.insert(0, str(Path(__file__).parent.parent))  # for `support`, when run as a program
from support.long_call import GREETING, SCRIPT, TWO_MINUTES, Answerer, extra_silence_ms, ours_ms, silences_ms
from support.model_process import ModelProcess
from support.phone_server import serving

from realtime_bridge.audio.transcode import transcoder
from realtime_bridge.localmodel.hibari_voice import HibariVoice
from realtime_bridge.transport.endpoint import realtime_endpoint
from realtime_bridge.transport.model_socket import ModelSocket
from telephony.testing import CallResult, fetch_stream, place_call

KEY = "offline"


def voices(lines: tuple[str, ...]) -> dict[str, bytes]:
    """The caller's lines, spoken, as mu-law."""
    voice, spoken = HibariVoice(), {}
    for line in lines:
        audio = np.concatenate([piece for _, piece in voice.speak(line)])
        spoken[line] = transcoder("pcm").to_phone((audio * 32767).astype("<i2").tobytes())
    return spoken


async def call(
    model: ModelProcess, speech: dict[str, bytes], *, kills: bool
) -> tuple[CallResult, Answerer, list[float]]:
    """One call; also how long the model was away, each time it was killed."""
    openai = AsyncOpenAI(base_url=model.url, api_key=KEY)
    away_s = []

    async def open_model(*, on_frame, on_lost):
        return await ModelSocket.open(
            await realtime_endpoint(openai, model="local"), on_frame=on_frame, on_lost=on_lost
        )

    async def strike():
        clock = asyncio.get_running_loop().time
        at = clock()
        await model.kill()
        await model.start()
        away_s.append(clock() - at)

    answerer = Answerer(open_model, strike=strike if kills else None)
    async with openai, serving(answer=answerer.answer) as (server, _):
        stream = await fetch_stream(server.url + "/twilio/voice")
        result = await place_call(stream, TWO_MINUTES.steps(speech.__getitem__, answerer))
        await answerer.done()
    return result, answerer, away_s


async def measure(run: str, options: argparse.Namespace, speech: dict[str, bytes]) -> tuple[CallResult, Answerer, dict]:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "shop.yaml"
        script.write_text(SCRIPT)
        seconds = 3600.0 if run == "undisturbed" else options.seconds
        arguments = ["--script", str(script), "--session-seconds", str(seconds), "--speed", str(options.speed)]
        async with ModelProcess(arguments) as model:
            result, answerer, away_s = await call(model, speech, kills=run == "killed")
    greetings = sum(words.count(GREETING) for _, words in answerer.said)
    return result, answerer, {
        "call_s": round(result.seconds, 1),
        "failure": result.failure,
        "errors": answerer.errors,
        "sessions": len(answerer.changes) + 1,
        "changes_s": [[round(at, 1), "planned" if planned else "lost"] for at, planned in answerer.changes],
        "waits_outlived": answerer.spanned,
        "greetings": greetings,
        "tools_run": answerer.runs,
        "approvals_asked": answerer.asked,
        "clears": len(result.clears),
        "killed_at_s": [round(at, 1) for at in answerer.struck],
        "model_away_s": [round(s, 1) for s in away_s],
        "answer_delay_ms": [round(ms) for ms in result.answer_delays_ms()],
        "of_it_not_the_models_ms": [round(ms) for ms in ours_ms(result, answerer)],
        "longest_silence_ms": [round(max(each, default=0)) for each in silences_ms(result)],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", default=["undisturbed", "rotated", "killed"])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long a model session lives")
    parser.add_argument("--speed", type=float, default=1.5, help="of the agent's voice on the wire, times real time")
    options = parser.parse_args()
    speech = voices(TWO_MINUTES.lines)
    undisturbed = None
    for run in options.runs:
        progress(f"{run}: two minutes")
        result, answerer, figures = asyncio.run(measure(run, options, speech))
        progress()
        if run == "undisturbed":
            undisturbed = (result, answerer)
        elif undisturbed is not None:
            if len(result.said) == len(undisturbed[0].said):
                extras = extra_silence_ms(result, undisturbed[0])
                figures["extra_silence_ms"] = [round(ms) for ms in extras]
            figures["same_words"] = answerer.said == undisturbed[1].said
            if not figures["same_words"]:
                figures["words"] = answerer.said
        sys.stdout.write(json.dumps({run: figures}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
