"""Watches the event loop, on which every call depends: how late it gets round to things, and what holds it up.

The loop beats ten times a second; how late each beat is goes into `/metrics`. A thread looks whether beats fail to come, and
logs the stack of what the loop is in the middle of then, such as a tool that is no coroutine and waits for a database.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Final

from telephony import metrics
from telephony.limits import ProblemGate

log = logging.getLogger(__name__)

BEAT_S: Final = 0.1
BLOCKED_S: Final = 0.2  # later than this, callers hear it
STACK_FRAMES_MAX: Final = 30


@contextlib.contextmanager
def watched_loop(*, blocked_s: float = BLOCKED_S) -> Iterator[None]:
    """Watch the running loop, while it lasts. Log lines come three a minute at most."""
    watch = _Watch(blocked_s)
    watch.beat()
    thread = threading.Thread(target=watch.look, name="event loop's watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.stop()
        thread.join(timeout=1.0)


class _Watch:
    def __init__(self, blocked_s: float) -> None:
        self._blocked_s = blocked_s
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._next_beat: asyncio.TimerHandle | None = None
        self._due = time.monotonic()
        self._stopped = threading.Event()
        self._reported_due = 0.0  # of the beat whose failure has been looked at
        self._gate = ProblemGate(passes=3, window_seconds=60.0)

    # ---- on the loop -------------------------------------------------------------------------------------------------

    def beat(self) -> None:
        now = time.monotonic()
        lag_s = max(0.0, now - self._due)
        metrics.LOOP_LAG_SECONDS.observe(lag_s)
        if lag_s > self._blocked_s:
            metrics.LOOP_BLOCKS.inc()
            passed, held_back = self._gate.let_pass("block", now)
            if passed:
                others = f"; {held_back} like it were not reported" if held_back else ""
                log.warning("the event loop was held up for %.2f s%s", lag_s, others)
        self._due = now + BEAT_S
        self._next_beat = self._loop.call_later(BEAT_S, self.beat)

    def stop(self) -> None:
        self._stopped.set()
        if self._next_beat is not None:
            self._next_beat.cancel()

    # ---- in the thread -----------------------------------------------------------------------------------------------

    def look(self) -> None:
        while not self._stopped.wait(BEAT_S):
            due = self._due
            late_s = time.monotonic() - due
            if late_s <= self._blocked_s or self._reported_due == due:
                continue
            self._reported_due = due
            passed, _ = self._gate.let_pass("stack", time.monotonic())
            frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - documented, for this purpose
            if passed and frame is not None:
                stack = "".join(traceback.format_stack(frame, limit=STACK_FRAMES_MAX))
                log.warning("the event loop has been held up for %.2f s, in:\n%s", late_s, stack)
