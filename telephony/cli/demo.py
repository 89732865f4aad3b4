"""`realtime-bridge demo`"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from realtime_bridge.session.events import SessionEvent
from telephony.calls.record import CallRecord
from telephony.demo.ring import ring
from telephony.demo.view import LiveTranscript, summary
from telephony.logs import configure_logging
from telephony.offline import offline_model, require_offline_parts
from telephony.settings import Settings, load_settings

SCRIPT = Path(__file__).parent.parent / "demo" / "dialogue.yaml"


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
    fast: Annotated[bool, typer.Option(help="Run in virtual time: the same call in a few seconds.")] = False,
) -> None:
    """Hear a call within a minute: no key, no phone number, no network.

    A recorded human caller rings the real phone server on this machine over Twilio's media-stream protocol and talks to
    the demo agents on the offline model: a tool call, an approval, an interruption, a hand-off. The recording, its
    timeline and the tape are saved below DATA_DIR.

    Example: realtime-bridge demo
    """
    # The demo is its own company, on this machine only, whatever the environment says of the real one.
    own = {"twilio_auth_token": None, "public_url": None, "agent": None, "openai_api_key": None}
    settings = load_settings().model_copy(update=own)
    configure_logging("WARNING", "console")
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    require_offline_parts()
    progress = Console(stderr=True, highlight=False)
    transcript = LiveTranscript(progress)
    result, record = asyncio.run(_call(settings, transcript, progress))
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        Console().print(summary(result, record))
    if not result["ok"]:
        for failure in result["failures"]:
            progress.print(f"failed: {failure}", style="red", markup=False)
        raise typer.Exit(1)


async def _call(settings: Settings, transcript: LiveTranscript, progress: Console) -> tuple[dict[str, Any], CallRecord]:
    def on_event(event: SessionEvent) -> None:
        transcript.event(event)

    with progress.status("Starting the offline model …"):
        async with offline_model(SCRIPT) as url:
            progress.print("The phone rings. (A call of about 45 seconds, in real time)")
            return await ring(model_url=url, settings=settings, on_event=on_event)
