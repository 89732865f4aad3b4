"""Opens a switchboard with all it needs: a model to talk to, a thread for the disk, an agent.

Without an OpenAI key the offline model runs beside it, and says so.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

from openai import AsyncOpenAI

from realtime_bridge.agent import Agent
from telephony.agents import load_directory
from telephony.calls.answering import Switchboard
from telephony.demo.agent import SCRIPT, front_desk
from telephony.offline import OFFLINE_KEY, offline_model
from telephony.settings import Settings

log = logging.getLogger(__name__)

OFFLINE_MODEL = "local"


@asynccontextmanager
async def open_switchboard(agent: Agent | None, settings: Settings) -> AsyncIterator[Switchboard]:
    """`agent` None: the one that the settings name, or the demo's. Leaving waits until every call's records are written.

    Raises MisuseError or TransportError when the offline model is wanted and cannot be had.
    """
    async with AsyncExitStack() as stack:
        if settings.openai_api_key is not None:
            openai = AsyncOpenAI(api_key=settings.openai_api_key.get_secret_value(), base_url=settings.openai_base_url)
            model = settings.realtime_model
        else:
            log.warning("OPENAI_API_KEY is not set: the offline model answers")
            # The demo's agents have a script to follow; others are improvised for, or a language model does the talking.
            demo = agent is None and settings.agent is None
            script = SCRIPT if demo and settings.local_llm_base_url is None else None
            url = await stack.enter_async_context(offline_model(script))
            openai, model = AsyncOpenAI(api_key=OFFLINE_KEY, base_url=url), OFFLINE_MODEL
        stack.push_async_callback(openai.close)
        disk = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="records"))
        switchboard = Switchboard(
            load_directory(settings, agent, otherwise=front_desk),
            openai=openai,
            model=model,
            audio=settings.realtime_audio,
            data_dir=settings.data_dir if settings.record_calls else None,
            disk=disk,
        )
        stack.push_async_callback(switchboard.close)
        yield switchboard
