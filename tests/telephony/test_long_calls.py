"""Two minutes on the phone with a model whose sessions live for twenty seconds: the caller notices nothing.

In virtual time, with speech that is understood and spoken by script: computing takes no time, so what is measured is what
the changes of the model session cost the caller. `tests/bench/bench_rotation.py` measures the same on a real clock, real
speech and a real process.
"""

import time
from dataclasses import dataclass

import pytest
from support.long_call import GREETING, SCRIPT, TWO_MINUTES, Answerer, extra_silence_ms, ours_ms
from support.scripted_model import LoudnessVad, ScriptedRecognizer, ToneVoice, tone

from realtime_bridge.audio.g711 import pcm16_to_mulaw
from realtime_bridge.localmodel.model_session import Limits
from realtime_bridge.transport.inline_socket import InlineModels
from telephony.testing import CallResult, place_virtual_call, run_virtual


@dataclass(frozen=True)
class Call:
    result: CallResult
    answerer: Answerer


def speech_of(text: str) -> bytes:
    return pcm16_to_mulaw(tone(250 * len(text.split()), rate=8000))


def call(session_seconds: float = 3600.0, **options) -> Call:
    from realtime_bridge.localmodel.brains.script import ScriptBrain
    from realtime_bridge.localmodel.brains.script_format import parse_script

    script = parse_script(SCRIPT)
    models = InlineModels(
        brain_factory=lambda: ScriptBrain(script),
        recognizer=ScriptedRecognizer(*TWO_MINUTES.lines),
        voice=ToneVoice(),
        vad_factory=LoudnessVad,
        limits=Limits(session_seconds=session_seconds),
        unix_s=time.time(),
    )
    answerer = Answerer(models, options=options)

    async def talk() -> CallResult:
        result = await place_virtual_call(answerer.answer, TWO_MINUTES.steps(speech_of, answerer))
        await answerer.done()
        return result

    return Call(run_virtual(talk()), answerer)


@pytest.fixture(scope="module")
def undisturbed() -> Call:
    return call()


def test_the_call_is_what_it_should_be(undisturbed):
    result, answerer = undisturbed.result, undisturbed.answerer
    assert (result.failure, result.problems) == (None, ())
    assert 120 < result.seconds < 180
    assert answerer.changes == []
    assert (answerer.runs, answerer.asked) == (["find_order", "refund"], ["refund"])


@pytest.mark.parametrize(
    ("options", "in_time"),
    [({}, True), ({"rotate_after_s": None}, False)],
    ids=["left in time", "thrown out"],
)
def test_the_caller_notices_nothing_of_model_sessions_that_live_for_twenty_seconds(options, in_time, undisturbed):
    """A tool and an approval are waited for across changes. `thrown out`: the server ends each session without warning."""
    rotated = call(20.0, **options)
    result, answerer = rotated.result, rotated.answerer
    assert (result.failure, result.problems, answerer.errors) == (None, (), [])
    assert len(answerer.changes) >= 6
    assert {planned for _, planned in answerer.changes} == {in_time}
    assert all(changes >= 1 for changes in answerer.spanned), "each wait outlived a session"
    assert len(answerer.spanned) == 2

    assert max(extra_silence_ms(result, undisturbed.result)) <= 300
    assert max(ours_ms(result, answerer)) <= 300
    assert result.clears == ()
    assert answerer.said == undisturbed.answerer.said
    assert [words for _, words in answerer.said].count(GREETING) == 1
    assert (answerer.runs, answerer.asked) == (["find_order", "refund"], ["refund"])
