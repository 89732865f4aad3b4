"""`realtime-bridge demo`"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Annotated, Any

import typer
from rich.console import Console

from telephony.demo.agent import SCRIPT
from telephony.demo.ring import ring, ring_fast
from telephony.demo.view import LiveTranscript, print_summary
from telephony.logs import configure_logging
from telephony.offline import offline_model, require_offline_parts
from telephony.records.record import CallRecord
from telephony.settings import Settings, load_settings


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
    fast: Annotated[bool, typer.Option(help="Run in virtual time: the same call in a few seconds.")] = False,
) -> None:
    """Hear a call within a minute: no key, no phone number, no network.

    A recorded human caller rings the real phone server on this machine over Twilio's media-stream protocol and talks to
    the demo agents on the offline model: a tool call, an approval, an interruption, a hand-off. The recording, its
    timeline and the tape are saved below DATA_DIR, to be looked at: they are never sealed, whatever RECORDING_KEY says.

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
    if fast:
        with progress.status("Calling in virtual time …"):
            result, record = ring_fast(settings=settings, on_event=transcript.event)
    else:
        result, record = asyncio.run(_call(settings, transcript, progress))
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        print_summary(Console(), result, record)
    if not result["ok"]:
        for failure in result["failures"]:
            progress.print(f"failed: {failure}", style="red", markup=False)
        raise typer.Exit(1)


async def _call(settings: Settings, transcript: LiveTranscript, progress: Console) -> tuple[dict[str, Any], CallRecord]:
    status = progress.status("Starting the offline model …")
    status.start()
    try:
        async with offline_model(SCRIPT) as url:
            status.stop()
            progress.print("The phone rings: a call of about 45 seconds, in real time.", style="dim")
            return await ring(model_url=url, settings=settings, on_event=transcript.event)
    finally:
        status.stop()
