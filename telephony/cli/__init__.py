"""The command line: `realtime-bridge`.

Each command is a module here and is imported when it runs, so that `--help` answers at once. Exit status: 0 done, 1 the
work failed, 2 wrong usage or settings. Results go to stdout, progress and logs to stderr.
"""

from __future__ import annotations

import importlib
import importlib.util
import signal
import sys
from typing import Any, Final

import typer
from typer.core import TyperGroup

from realtime_bridge.errors import BridgeError, MisuseError

# command -> what it does. Its module is telephony.cli.<command with _>, and the function there has the module's name; a
# Typer application of that name makes it a group of commands. A command whose module is not there is not offered.
COMMANDS: Final = {
    "demo": "A recorded caller talks to the demo agent, offline.",
    "serve": "Answer phone calls.",
    "local-model": "Serve the offline model alone.",
    "call": "Call somebody, and follow the call.",
    "calls": "Calls, live and past: transcript, events, recording.",
    "replay": "Run recorded calls again: does this program still do the same?",
    "approvals": "Decide tool calls that wait for a person's word.",
    "token": "Bearer tokens for the API.",
    "operator": "People who decide and log in.",
    "audit": "Who did what, and when.",
    "numbers": "Point a Twilio number at this server.",
    "doctor": "Find what is wrong with the set-up, and how to mend it.",
    "settings": "Print every setting and what it does.",
}

# Boxes and colours at a terminal; plain text, and no time spent on them, in a pipe.
_MARKUP: Final = "rich" if sys.stdout.isatty() else None


class _LazyCommands(TyperGroup):
    """Lists commands without importing them. (Contexts and commands are `Any`: Typer's releases differ in whose they are.)"""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base's signature
        return [name for name in COMMANDS if importlib.util.find_spec(_module(name)) is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What the list of commands shows."""
        return _command(cmd_name, lambda: None, COMMANDS[cmd_name]) if cmd_name in self.list_commands(ctx) else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """What is run."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, None if command is None or name is None else _load(name), rest


app = typer.Typer(
    cls=_LazyCommands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=_MARKUP,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(epilog="Example: realtime-bridge serve --agent my_company.front_desk:agent --port 8080")
def realtime_bridge() -> None:
    """AI agents on the phone: Twilio calls joined to a realtime speech model."""


def group(summary: str, example: str) -> typer.Typer:
    """A command of several commands, such as `token create`; `example` is one of them in use."""
    return typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=_MARKUP,
        context_settings={"help_option_names": ["-h", "--help"]},
        help=summary,
        epilog=f"Example: realtime-bridge {example}",
    )


def main(arguments: list[str] | None = None) -> None:
    """The `realtime-bridge` program, by default with the process's arguments. Leaves by SystemExit."""
    if arguments is None and sys.argv[1:2] == ["serve"]:
        # Until the server answers signals itself: one that is stopped while it loads has not failed. And as the first
        # process of a container it would not be stopped at all without a handler.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        app(arguments, prog_name="realtime-bridge")
    except BridgeError as e:
        typer.echo(f"realtime-bridge: {e}", err=True)
        sys.exit(2 if isinstance(e, MisuseError) else 1)


def _module(command: str) -> str:
    return f"{__name__}.{command.replace('-', '_')}"


def _load(command: str) -> Any:
    found = getattr(importlib.import_module(_module(command)), command.replace("-", "_"))
    return typer.main.get_command(found) if isinstance(found, typer.Typer) else _command(command, found, None)


def _command(name: str, function: Any, summary: str | None) -> Any:
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=_MARKUP)
    single.command(name, help=summary)(function)
    return typer.main.get_command(single)
