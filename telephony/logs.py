"""Log lines, for people (`console`) or for machines (`json`, one object a line), on stderr.

Each line that a call's work writes carries the call's SID: tasks begin in `call_context`, and what logs from a socket's
callback, where no task is, has a `call_logger`. Whatever a line says, secrets and whole phone numbers are masked in it.
"""

from __future__ import annotations

import contextvars
import logging
import sys
from collections.abc import Iterable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from telephony.redaction import Redactor
from telephony.word_redaction import WordRedactor

# They tell of every connection, request or statement what matters to nobody, or to whoever debugs them.
CHATTY: Final = (
    "aiosqlite", "alembic", "httpcore", "httpx", "openai", "opentelemetry", "picows", "sqlalchemy", "twilio", "uvicorn",
    "websockets", "realtime_bridge.transport.model_socket",
)  # fmt: skip

_call_sid: contextvars.ContextVar[str | None] = contextvars.ContextVar("call_sid", default=None)


def call_context(call_sid: str) -> contextvars.Context:
    """The current context, in which log lines are this call's: for `create_task(…, context=…)`, and all it starts."""
    context = contextvars.copy_context()
    context.run(_call_sid.set, call_sid)
    return context


def call_logger(logger: logging.Logger, call_sid: str) -> logging.LoggerAdapter[logging.Logger]:
    """A logger whose lines are this call's, wherever it is used."""
    return _CallLogger(logger, {"call_sid": call_sid})


class _CallLogger(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class ConsoleFormatter(logging.Formatter):
    """`time level logger [call]: message`, and the worker's name before the logger where there is one."""

    def __init__(self, redact: Redactor, worker: str = "") -> None:
        who = f"{worker} " if worker else ""
        super().__init__(f"%(asctime)s %(levelname)-7s {who}%(name)s%(of_call)s: %(message)s")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        call_sid = call_of(record)
        record.of_call = f" [{call_sid}]" if call_sid else ""
        return self._redact(super().format(record))


class JsonFormatter(logging.Formatter):
    """`time` (UTC, ISO 8601), `level`, `logger`, `message`; `call_sid`, `worker`, `exception` where there is one."""

    def __init__(self, redact: Redactor, worker: str = "") -> None:
        super().__init__()
        self._redact = redact
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redact(record.getMessage()),
        }
        if call_sid := call_of(record):
            line["call_sid"] = self._redact(call_sid)
        if self._worker:
            line["worker"] = self._worker
        if record.exc_info:
            line["exception"] = self._redact(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = self._redact(record.stack_info)
        return msgspec.json.encode(line).decode()


def call_of(record: logging.LogRecord) -> str | None:
    """Whose call's line it is: as its logger says, or the context it is written in."""
    call_sid: str | None = getattr(record, "call_sid", None) or _call_sid.get()
    return call_sid


def configure_logging(
    level: str,
    style: Literal["console", "json"],
    *,
    secrets: Iterable[str] = (),
    rules: Iterable[str] = (),
    worker: str = "",
) -> None:
    """Send every logger's lines of `level` and above to stderr; replaces what was configured before.

    `secrets`: masked wherever they appear. `rules`: of REDACT, whose patterns are blackened; of numbers, lines keep less
    than those rules allow anyway. `worker`: which process of several this is.
    """
    handler = logging.StreamHandler(sys.stderr)
    formatter = JsonFormatter if style == "json" else ConsoleFormatter
    handler.setFormatter(formatter(Redactor(secrets, WordRedactor(rules).patterns), worker))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if level.upper() == "DEBUG" else logging.WARNING)
