"""How long a model session lives, and when to leave it for a fresh one.

A server ends a session on the second, whatever is being said in it (OpenAI: after 60 minutes; `session.expires_at` says
when). So a conversation leaves it before, in a window at the end of its life: first only while the line is quiet; then
also while the agent's last words play on, since those are with the player; and at the last moment whatever goes on, as
it would be cut off anyhow, with nothing at hand to go on with.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

_WINDOW_SHARE = 0.25  # of a life
_WINDOW_S_MAX = 300.0
_LAST_SHARE = 0.1  # of the window
_LIFE_S_MAX = 86_400.0  # a server that promises more has another calendar than we


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Moments, in the machine's seconds. `prepare_at`: open a fresh session, and change to it on a quiet line;
    `playing_from`: also while nothing but the agent's audio is under way; `last_at`: change now. `retry_s`: give a fresh
    session that does not come so long."""

    prepare_at: float = inf
    playing_from: float = inf
    last_at: float = inf
    retry_s: float = 60.0


def lifetime(born: float, ends: float | None, rotate_after_s: float | None) -> Lifetime:
    """`ends`: when the server says that it will end the session; what cannot be is not believed. `rotate_after_s`: when
    to change at the latest, whatever the server says; None: never."""
    if rotate_after_s is None:
        return Lifetime()
    prepare_at = born + rotate_after_s
    if ends is None or not 0 < ends - born <= _LIFE_S_MAX:
        return Lifetime(prepare_at=prepare_at)
    window_s = min(_WINDOW_SHARE * (ends - born), _WINDOW_S_MAX)
    return Lifetime(
        prepare_at=min(prepare_at, ends - window_s),
        playing_from=ends - window_s / 2,
        last_at=ends - _LAST_SHARE * window_s,
        retry_s=min(60.0, window_s / 2),
    )
