"""A brain that asks a language model: any OpenAI-compatible chat endpoint, a self-hosted one for instance.

The reply is streamed and handed on sentence by sentence, so that speech begins with the first. A caller on the line must
never meet silence: whatever goes wrong is logged, and an apology is said instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

import openai
from openai.types.chat import ChatCompletionChunk

from realtime_bridge.errors import BridgeError, ProtocolError, TransportError
from realtime_bridge.localmodel.brains.chat_messages import chat_messages, chat_tools
from realtime_bridge.localmodel.brains.reading import function_tools
from realtime_bridge.localmodel.brains.streamed_reply import SentenceCutter, ToolCalls, read_chunk
from realtime_bridge.localmodel.parts import Deed, Say, Turn

_log = logging.getLogger(__name__)

APOLOGY = "I am sorry, something went wrong on my side. Could you say that again?"
_LOGGED_CHARACTERS_MAX = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ChatTimeouts:
    """Seconds. `first_token_s`: from the request to the first text or tool call, retries included; `total_s`: all the
    waiting for one reply (time spent speaking does not count)."""

    connect_s: float = 5.0
    first_token_s: float = 10.0
    total_s: float = 60.0


@dataclass(frozen=True, slots=True)
class LlmSettings:
    """Where the language model is. `base_url`: as in `http://localhost:8080/v1`. `api_key`: "" where none is needed."""

    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    timeouts: ChatTimeouts = ChatTimeouts()


def chat_client(settings: LlmSettings) -> openai.AsyncOpenAI:
    """A client for all conversations of one event loop; close it with `await client.close()`."""
    timeouts = settings.timeouts
    client = openai.AsyncOpenAI(
        base_url=settings.base_url,
        api_key=settings.api_key or "none",  # never the OPENAI_API_KEY of the environment
        timeout=openai.Timeout(timeouts.first_token_s, connect=timeouts.connect_s),
        max_retries=1,
    )
    client.organization = client.project = None  # taken from the environment, and none of this endpoint's business
    return client


class ChatBrain:
    """A `Brain`. It remembers nothing; conversations may share one `client`."""

    def __init__(self, client: openai.AsyncOpenAI, model: str, timeouts: ChatTimeouts | None = None) -> None:
        self._client = client
        self._model = model
        self._timeouts = timeouts or ChatTimeouts()

    async def respond(self, turn: Turn) -> AsyncIterator[Deed]:
        """Closing the iterator closes the HTTP stream, so the endpoint stops generating."""
        try:
            async with aclosing(self._stream(turn)) as deeds:
                async for deed in deeds:
                    yield deed
        except BridgeError as e:
            _log.error("the language model failed: %s", e)
            yield Say(APOLOGY)

    async def _stream(self, turn: Turn) -> AsyncGenerator[Deed]:
        """Raises BridgeError."""
        waiting = _Waiting(self._timeouts)
        cutter, calls = SentenceCutter(), ToolCalls()
        is_complete = False
        stream = await waiting.for_(self._request(turn))
        try:
            while (chunk := await waiting.for_(_next(stream))) is not None:
                piece = read_chunk(chunk)
                for call_piece in piece.calls:
                    calls.push(call_piece)
                waiting.has_begun = waiting.has_begun or bool(piece.text or piece.calls)
                is_complete = is_complete or piece.is_last
                for sentence in cutter.push(piece.text):
                    yield Say(sentence)
            for sentence in cutter.finish():
                yield Say(sentence)
            if not is_complete:
                raise TransportError("the reply broke off in the middle")
            for call in calls.finish({str(tool["name"]) for tool in function_tools(turn)}):
                yield call
        finally:
            await stream.close()

    def _request(self, turn: Turn) -> Awaitable[openai.AsyncStream[ChatCompletionChunk]]:
        request: dict[str, Any] = {"messages": chat_messages(turn), **chat_tools(turn)}
        return self._client.chat.completions.create(model=self._model, stream=True, **request)


async def _next(stream: openai.AsyncStream[ChatCompletionChunk]) -> ChatCompletionChunk | None:
    try:
        return await anext(stream)
    except StopAsyncIteration:
        return None


class _Waiting:
    """Waits for the endpoint, within the limits, and maps its errors to ours."""

    def __init__(self, timeouts: ChatTimeouts) -> None:
        self.has_begun = False
        self._timeouts = timeouts
        self._waited_s = 0.0

    async def for_(self, step: Awaitable[T]) -> T:
        """Raises TransportError when it fails or takes too long, ProtocolError when the answer makes no sense."""
        limit_s = self._timeouts.total_s if self.has_begun else self._timeouts.first_token_s
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            async with asyncio.timeout(max(limit_s - self._waited_s, 0.0)):
                return await step
        except (TimeoutError, openai.APITimeoutError) as e:
            what = "no end of the reply" if self.has_begun else "no word of a reply"
            raise TransportError(f"{what} after {self._waited_s + loop.time() - begin:.1f} s") from e
        except openai.APIStatusError as e:
            raise TransportError(
                f"HTTP {e.status_code}{_told(e)}",
                code=e.status_code,
                retryable=e.status_code >= 500 or e.status_code == 429,
            ) from e
        except openai.APIConnectionError as e:
            raise TransportError(f"the connection failed: {e.__cause__ or e}") from e
        except openai.APIError as e:  # an error event within the stream
            raise TransportError(f"an error within the reply: {str(e)[:_LOGGED_CHARACTERS_MAX]}") from e
        except (ValueError, TypeError, AttributeError, KeyError) as e:  # what nonsense in place of chunks ends in
            raise ProtocolError(f"no chat completion: {type(e).__name__}: {str(e)[:_LOGGED_CHARACTERS_MAX]}") from e
        finally:
            self._waited_s += loop.time() - begin


def _told(error: openai.APIStatusError) -> str:
    """What the endpoint says about it; not for a refused key, which some servers repeat."""
    if error.status_code in (401, 403):
        return ": check LOCAL_LLM_API_KEY"
    return f": {error.message[:_LOGGED_CHARACTERS_MAX]}"
