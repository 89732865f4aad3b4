"""The last words of a server that stops: every caller who is still there is told goodbye, by the agent's own voice."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from telephony.calls.live import LiveCall, LiveCalls

log = logging.getLogger(__name__)

GOODBYE: Final = "I am sorry, I have to end this call now. Please call again in a few minutes. Goodbye."


async def say_goodbye(live: LiveCalls, words: str = GOODBYE) -> None:
    """End every call, all at once, when its caller has heard these words. Each takes as long as its control allows."""
    await asyncio.gather(*(_end(call, words) for call in live))


async def _end(call: LiveCall, words: str) -> None:
    try:
        await call.control.hang_up("the server stops", words=words, final=True)
    except Exception:
        log.exception("call %s could not be told goodbye", call.sid)
