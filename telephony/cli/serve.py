"""`realtime-bridge serve`"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from typing import Annotated

import typer

from telephony.listener import allow_open_files, listen, url_of
from telephony.logs import configure_logging
from telephony.settings import Settings, check_exposure, check_signing, load_settings, secret_values
from telephony.signals import Signals, run
from telephony.worker_link import MULTIPROC_DIR, worker_identity

log = logging.getLogger(__name__)

_CLOSE_SECONDS_MAX = 60.0  # for goodbyes, sockets and records, when calls have gone on for as long as they may


def serve(
    agent: Annotated[str | None, typer.Option(help="MODULE:NAME of the agent that answers. [AGENT]")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [HOST]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. [PORT]")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that share the port. [WORKERS]")] = None,
) -> None:
    """Answer phone calls: Twilio's webhooks and media streams, on one port.

    The other settings come from the environment and `.env`; see `realtime-bridge settings`. Without an agent, the demo
    agent answers; without OPENAI_API_KEY, on the offline model.

    SIGTERM lets calls finish, up to DRAIN_SECONDS_MAX, and takes no new ones; Ctrl-C has callers told goodbye at once;
    once more stops at once. With several workers, SIGHUP replaces them by fresh ones, which loses no call.

    Example: realtime-bridge serve --agent my_company.front_desk:agent --port 8080
    """
    settings = load_settings(agent=agent, host=host, port=port, workers=workers)
    allow_open_files()
    identity = worker_identity()
    configure_logging(
        settings.log_level,
        settings.log_format,
        secrets=secret_values(settings),
        rules=settings.redact,
        worker=f"worker {identity[0]}" if identity else "",
    )
    if identity is not None:
        status = run(lambda signals: _serve(settings, signals, link=identity[1]))
    elif settings.workers == 1:
        status = run(lambda signals: _serve(settings, signals))
    else:
        status = run(lambda signals: _supervise(settings, signals))
    if status:
        raise typer.Exit(status)


async def _serve(settings: Settings, signals: Signals, *, link: int | None = None) -> int:
    """One process that answers calls: by itself, or as a worker at this end of a link."""
    # A supervisor, which must know where the numbers of /metrics are before they are imported, needs none of this.
    from telephony.app import create_app  # noqa: PLC0415 - as said
    from telephony.calls.farewell import say_goodbye  # noqa: PLC0415 - as said
    from telephony.life import serve_until_told  # noqa: PLC0415 - as said
    from telephony.loop_watch import watched_loop  # noqa: PLC0415 - as said
    from telephony.server import PhoneServer  # noqa: PLC0415 - as said
    from telephony.worker import joined  # noqa: PLC0415 - as said

    app = create_app(settings=settings)
    async with contextlib.AsyncExitStack() as stack:
        server = PhoneServer(app, host=settings.host, port=settings.port, listens=link is None)
        await stack.enter_async_context(server)
        stack.enter_context(watched_loop())
        if link is None:
            _tell_where(server.url)
        else:
            await stack.enter_async_context(joined(server, link, signals))
        await serve_until_told(
            server,
            signals,
            drain_seconds_max=settings.drain_seconds_max,
            say_goodbye=lambda: say_goodbye(app.state.office.switchboard.live),
        )
    return 0


async def _supervise(settings: Settings, signals: Signals) -> int:
    """Several workers on one port."""
    check_signing(settings)
    check_exposure(settings, settings.host)
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(listen(settings.host, settings.port))
        url = url_of(listener)
        numbers = stack.enter_context(tempfile.TemporaryDirectory(prefix="realtime-bridge-metrics-"))
        os.environ[MULTIPROC_DIR] = numbers
        from telephony import metrics  # noqa: PLC0415 - it must know first where the numbers are
        from telephony.workers import Supervisor  # noqa: PLC0415 - seldom needed

        supervisor = Supervisor(
            listener,
            command=[sys.executable, "-c", "from telephony.cli import main; main()", *sys.argv[1:]],
            workers=settings.workers,
            environment=await _shared_model(settings, stack),
            stop_s_max=settings.drain_seconds_max + _CLOSE_SECONDS_MAX,
            on_death=metrics.worker_died,
        )
        return await supervisor.run(signals, on_ready=lambda: _tell_where(url))


async def _shared_model(settings: Settings, stack: contextlib.AsyncExitStack) -> dict[str, str]:
    """One offline model for all workers, where they need one: what they are to be told of it."""
    if settings.openai_api_key is not None:
        return {}
    from telephony.offline import OFFLINE_KEY, offline_model  # noqa: PLC0415 - seldom needed
    from telephony.opening import OFFLINE_MODEL, offline_script  # noqa: PLC0415 - as above, and slow

    log.warning("OPENAI_API_KEY is not set: the offline model answers")
    script = offline_script(settings, is_demo=settings.agent is None)
    url = await stack.enter_async_context(offline_model(script))
    return {"OPENAI_API_KEY": OFFLINE_KEY, "OPENAI_BASE_URL": url, "REALTIME_MODEL": OFFLINE_MODEL}


def _tell_where(url: str) -> None:
    typer.echo(f"Listening on {url} (Ctrl-C stops)", err=True)
