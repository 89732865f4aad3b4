"""`realtime-bridge local-model`"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from realtime_bridge.localmodel.brains.chat import LlmSettings
from realtime_bridge.localmodel.brains.selection import BrainFactory, brain_for
from realtime_bridge.localmodel.hibari_voice import HibariVoice
from realtime_bridge.localmodel.model_session import Limits
from realtime_bridge.localmodel.moonshine import MoonshineRecognizer
from realtime_bridge.localmodel.reply import Pace
from realtime_bridge.localmodel.server import LocalModelServer
from telephony.logs import configure_logging
from telephony.settings import Settings, load_settings

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def local_model(  # noqa: PLR0917 - Typer calls it by name
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    script: Annotated[Path | None, typer.Option(help="Dialogue script to follow (YAML).")] = None,
    session_seconds: Annotated[float, typer.Option(min=1, help="How long a session may last.")] = 3600,
    speed: Annotated[
        float, typer.Option(min=0.1, max=1000, help="How fast replies are sent, in multiples of real time.")
    ] = Pace().speed,
    api_key: Annotated[
        str | None, typer.Option(help="Turn away clients that do not bring this key. [LOCAL_MODEL_API_KEY]")
    ] = None,
) -> None:
    """Serve the offline model alone: speech recognition, a dialogue, a voice, behind OpenAI's Realtime API.

    Point any client at it with OPENAI_BASE_URL. With --script a dialogue script decides what is said; with
    LOCAL_LLM_BASE_URL and LOCAL_LLM_MODEL a language model; without either, rules that go by the client's tools and
    instructions. Ctrl-C or SIGTERM stops.

    Example: realtime-bridge local-model --port 8765 --script bakery.yaml
    """
    configure_logging("INFO", "console")
    settings = load_settings(local_model_api_key=api_key)
    key = settings.local_model_api_key.get_secret_value() if settings.local_model_api_key else None
    if key is None and host not in _LOOPBACK:
        typer.echo(f"Whoever can reach {host} can use this model: --api-key keeps strangers out", err=True)
    brains = brain_for(script, _llm(settings) if script is None else None)  # options win over the environment
    server = LocalModelServer(
        brain_factory=brains,
        recognizer=MoonshineRecognizer(),
        voice=HibariVoice(),
        host=host,
        port=port,
        api_key=key,
        pace=Pace(speed=speed),
        limits=Limits(session_seconds=session_seconds),
    )
    asyncio.run(_serve(server, brains))


def _llm(settings: Settings) -> LlmSettings | None:
    if settings.local_llm_base_url is None or settings.local_llm_model is None:
        return None
    key = settings.local_llm_api_key
    return LlmSettings(settings.local_llm_base_url, settings.local_llm_model, key.get_secret_value() if key else "")


async def _serve(server: LocalModelServer, brains: BrainFactory) -> None:
    told_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told_to_stop.set)
    try:
        async with server:
            typer.echo(f"Listening on {server.base_url} (Ctrl-C stops)", err=True)
            await told_to_stop.wait()
    finally:
        await brains.aclose()
