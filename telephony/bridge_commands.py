"""What the bridge asks of its shell. Each is done at once, in order."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from realtime_bridge.transport.base import TransportEvent


class ToPhone(msgspec.Struct, frozen=True, gc=False):
    """One text frame for the phone's socket."""

    frame: bytes


class ToModel(msgspec.Struct, frozen=True, gc=False):
    """One text frame for the model's socket."""

    frame: bytes


class Report(msgspec.Struct, frozen=True):
    """Something for the session to know."""

    event: TransportEvent


class ModelReady(msgspec.Struct, frozen=True):
    """The model has confirmed the session; it hears the caller from here on."""


class ModelUnfit(msgspec.Struct, frozen=True):
    """The model insists on an audio format that this call does not speak: the connection is of no use."""

    message: str


class Played(msgspec.Struct, frozen=True):
    """A piece of our own audio is over for the caller. `echoed`: the phone said so; else the clock did."""

    audio_id: str
    echoed: bool


class EndCall(msgspec.Struct, frozen=True):
    """The phone's stream is over."""

    reason: str


Command: TypeAlias = ToPhone | ToModel | Report | ModelReady | ModelUnfit | Played | EndCall
