"""`realtime-bridge serve`"""

from __future__ import annotations

from typing import Annotated

import typer
from fastapi import FastAPI

from telephony.agents import load_agent
from telephony.app import create_app
from telephony.logs import configure_logging
from telephony.server import PhoneServer, run_until_signalled
from telephony.settings import Settings, load_settings


def serve(
    agent: Annotated[str | None, typer.Option(help="MODULE:NAME of the agent that answers. [AGENT]")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [HOST]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. [PORT]")] = None,
) -> None:
    """Answer phone calls: Twilio's webhooks and media streams, on one port.

    The other settings come from the environment and `.env`; see `realtime-bridge settings`. Without an agent, the demo
    agent answers; without OPENAI_API_KEY, on the offline model. Ctrl-C or SIGTERM ends the calls in order and stops;
    once more stops at once.

    Example: realtime-bridge serve --agent my_company.front_desk:agent --port 8080
    """
    settings = load_settings(agent=agent, host=host, port=port)
    configure_logging(settings.log_level, settings.log_format)
    app = create_app(agent=None if settings.agent is None else load_agent(settings.agent), settings=settings)
    run_until_signalled(_serve(app, settings))


async def _serve(app: FastAPI, settings: Settings) -> None:
    async with PhoneServer(app, host=settings.host, port=settings.port) as server:
        typer.echo(f"Listening on {server.url} (Ctrl-C stops)", err=True)
        await server.wait_failed()
