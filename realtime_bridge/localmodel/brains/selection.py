"""Which brain the offline model gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.parts import Brain

if TYPE_CHECKING:
    import openai

    from realtime_bridge.localmodel.brains.chat import LlmSettings


class BrainFactory:
    """Call it for a brain, once per conversation; close it when the server stops."""

    def __init__(self, make: Callable[[], Brain], client: openai.AsyncOpenAI | None = None) -> None:
        self._make = make
        self._client = client

    def __call__(self) -> Brain:
        return self._make()

    async def aclose(self) -> None:
        """Close connections to a language model, where there is one. Idempotent."""
        if self._client is not None:
            await self._client.close()


def brain_for(script: Path | None, llm: LlmSettings | None) -> BrainFactory:
    """The script's brain, or the language model's, or the one that needs neither.

    Raises MisuseError: both are given, the script is wrong, or the packages of the `[local]` extra are missing.
    """
    if script is not None and llm is not None:
        raise MisuseError("a dialogue script and a language model (LOCAL_LLM_BASE_URL) are both set; choose one")
    if llm is not None:
        from realtime_bridge.localmodel.brains.chat import ChatBrain, chat_client  # noqa: PLC0415 - slow to load

        client = chat_client(llm)
        return BrainFactory(lambda: ChatBrain(client, llm.model, llm.timeouts), client)
    try:
        from realtime_bridge.localmodel.brains.agent import AgentBrain  # noqa: PLC0415 - packages of an extra
        from realtime_bridge.localmodel.brains.script import ScriptBrain  # noqa: PLC0415 - as above
        from realtime_bridge.localmodel.brains.script_format import load_script  # noqa: PLC0415 - as above
    except ModuleNotFoundError as e:
        raise MisuseError(
            f"{e.name} is not installed; install the offline model: pip install 'realtime-bridge[local]'"
        ) from e
    if script is None:
        return BrainFactory(AgentBrain)
    loaded = load_script(script)
    return BrainFactory(lambda: ScriptBrain(loaded))
