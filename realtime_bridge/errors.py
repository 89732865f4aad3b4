"""Errors, sorted by whose fault they are.

`MisuseError`      the program that uses this package did something it must not (a bug there).
`ProtocolError`    the other side of a socket broke its own protocol; names the field. Survivable unless said otherwise.
`TransportError`   a connection could not be made, was lost, or was refused. `retryable` tells whether trying again can help.
`UserCodeError`    code of the program that runs inside (a tool, a guardrail) raised; names it.
`InternalError`    an invariant of this package does not hold (a bug here): please report it.

Errors of foreign libraries are mapped to these at the border, with the original as `__cause__`.
"""

from __future__ import annotations


class BridgeError(Exception):
    """Base of every error this project raises on purpose."""


class MisuseError(BridgeError):
    """The caller of an API broke its contract; the message says what to do instead."""


class ProtocolError(BridgeError):
    """A peer sent something its protocol does not allow.

    `where` is the path of the offending field (`$.media.payload`), or "" when the message as a whole is wrong.
    """

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(f"{message} (at {where})" if where else message)
        self.where = where


class TransportError(BridgeError):
    """A connection failed; `retryable` is False where trying again cannot help (a wrong key, an empty account)."""

    def __init__(self, message: str, *, code: int | str | None = None, retryable: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class UserCodeError(BridgeError):
    """A tool, guardrail or hook of the program raised, and wants the session to end; `tool` names it.

    What it raised is the `__cause__`.
    """

    def __init__(self, message: str, *, tool: str) -> None:
        super().__init__(message)
        self.tool = tool


class InternalError(BridgeError):
    """An invariant of this project is broken."""
