"""Where a trial's calls take place: on the offline model in virtual time, or on a real one in real time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.brains.selection import brain_for
from realtime_bridge.localmodel.parts import Recognizer, Synthesizer, Vad
from realtime_bridge.localmodel.silero import SileroVad
from realtime_bridge.tape import InlineDisk
from realtime_bridge.transport.inline_socket import InlineModels
from realtime_bridge.transport.model_socket import OpenModel
from telephony.offline import require_offline_parts
from telephony.testing.result import CallResult
from telephony.testing.virtual_time import run_virtual

if TYPE_CHECKING:
    from openai import AsyncOpenAI

LOCAL_MODEL: Final = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """What hears and speaks on the offline model."""

    recognizer: Recognizer
    voice: Synthesizer
    vad_factory: Callable[[], Vad] = SileroVad


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """A model behind the Realtime API. What is None comes from OPENAI_API_KEY and OPENAI_BASE_URL."""

    name: str = "gpt-realtime"
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a call needs of where it takes place. Either `openai` tells where the model is, or `open_model` connects to it."""

    model: str
    disk: Executor
    openai: AsyncOpenAI | None = None
    open_model: OpenModel | None = None


Call: TypeAlias = Callable[[Surroundings], Coroutine[Any, Any, CallResult]]


class Place(Protocol):
    """`is_virtual`: time passes as quickly as it can, and nothing of the real world may be waited for."""

    is_virtual: bool

    def run(self, call: Call) -> CallResult:
        """On an event loop of its own."""
        ...


class OfflinePlace:
    """The offline model. `script`: what it says; None: it improvises."""

    is_virtual = True

    def __init__(self, script: Path | None, speech: Speech | None) -> None:
        """Raises MisuseError when packages are missing, or the script is wrong."""
        self._brains = brain_for(script, None)
        self._speech = speech or offline_speech()

    def run(self, call: Call) -> CallResult:
        models = InlineModels(
            brain_factory=self._brains,
            recognizer=self._speech.recognizer,
            voice=self._speech.voice,
            vad_factory=self._speech.vad_factory,
        )
        return run_virtual(call(Surroundings(model=LOCAL_MODEL, disk=InlineDisk(), open_model=models)))


class RemotePlace:
    """OpenAI's model, or another that speaks its Realtime API."""

    is_virtual = False

    def __init__(self, model: RemoteModel) -> None:
        """Raises MisuseError without a key."""
        from openai import AsyncOpenAI, OpenAIError  # noqa: PLC0415 - slow to load, and most trials are offline

        self._model = model
        try:
            AsyncOpenAI(api_key=model.api_key, base_url=model.base_url)
        except OpenAIError as e:
            raise MisuseError(f"OPENAI_API_KEY is not set, so there is no model to try: {e}") from e

    def run(self, call: Call) -> CallResult:
        return asyncio.run(self._run(call))

    async def _run(self, call: Call) -> CallResult:
        from openai import AsyncOpenAI  # noqa: PLC0415 - as above

        with ThreadPoolExecutor(1, thread_name_prefix="records") as disk:
            async with AsyncOpenAI(api_key=self._model.api_key, base_url=self._model.base_url) as openai:
                return await call(Surroundings(model=self._model.name, disk=disk, openai=openai))


@cache
def offline_speech() -> Speech:
    """The offline model's own ears and voice, which take a second to load. Raises MisuseError without their packages."""
    require_offline_parts()
    from realtime_bridge.localmodel.hibari_voice import HibariVoice  # noqa: PLC0415 - packages of an extra
    from realtime_bridge.localmodel.moonshine import MoonshineRecognizer  # noqa: PLC0415 - as above

    return Speech(recognizer=MoonshineRecognizer(), voice=HibariVoice())
