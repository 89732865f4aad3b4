"""`realtime-bridge serve`"""

from __future__ import annotations

from typing import Annotated

import typer

from realtime_bridge.agent import Agent
from realtime_bridge.errors import MisuseError
from telephony.agents import load_agent
from telephony.app import create_app
from telephony.logs import configure_logging
from telephony.server import run_server
from telephony.settings import Settings, load_settings
from telephony.stream import AnswerCall


def serve(
    agent: Annotated[str | None, typer.Option(help="MODULE:NAME of the agent that answers. [AGENT]")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [HOST]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. [PORT]")] = None,
) -> None:
    """Answer phone calls: Twilio's webhooks and media streams, on one port.

    The other settings come from the environment and `.env`; see `realtime-bridge settings`. Ctrl-C or SIGTERM ends the
    calls in order and stops.

    Example: realtime-bridge serve --agent my_company.front_desk:agent --port 8080
    """
    settings = load_settings(agent=agent, host=host, port=port)
    configure_logging(settings.log_level, settings.log_format)
    app = create_app(answer=_answering(settings), settings=settings)
    run_server(
        app,
        host=settings.host,
        port=settings.port,
        on_ready=lambda url: typer.echo(f"Listening on {url} (Ctrl-C stops)", err=True),
    )


def _answering(settings: Settings) -> AnswerCall:
    named = None if settings.agent is None else load_agent(settings.agent)
    if named is None or isinstance(named, Agent):
        # The seam: a TwilioTransport and a RealtimeSession per call, on the local model without OPENAI_API_KEY.
        raise MisuseError("AGENT: for now, name a function of (Start, PhoneLine) that answers calls by itself")
    return named
