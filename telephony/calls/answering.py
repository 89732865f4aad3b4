"""Who talks to a call: for each call whose media begins, a transport, a session with the agent, and the records.

One task owns each call, from `start` to the last line of its record. Nothing of one call is in the way of another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from realtime_bridge.agent import Agent
from realtime_bridge.audio.transcode import AudioKind
from realtime_bridge.errors import BridgeError, MisuseError
from realtime_bridge.realtime import RealtimeSession
from realtime_bridge.session.events import SessionEnd, SessionError
from realtime_bridge.session.usage import Tokens
from realtime_bridge.transport.base import ModelLost
from realtime_bridge.transport.endpoint import realtime_endpoint
from realtime_bridge.transport.model_socket import ModelSocket, OpenModel
from telephony.calls.folder import CallFolder
from telephony.calls.record import CallRecord
from telephony.calls.recorder import CallHead, CallRecorder
from telephony.stream import PhoneLine
from telephony.transport import TwilioTransport
from telephony.twilio.messages import Start

log = logging.getLogger(__name__)

CLOSE_S_MAX = 10.0
_NOT_BEGUN = "the session could not begin"


class Switchboard:
    """Answers calls with one agent. `answer` is what the phone server wants (`AnswerCall`)."""

    def __init__(
        self,
        agent: Agent,
        *,
        model: str,
        openai: AsyncOpenAI | None = None,
        open_model: OpenModel | None = None,
        audio: AudioKind = "pcm",
        data_dir: Path | None = None,
        disk: Executor,
        config: Mapping[str, Any] | None = None,
        on_session: Callable[[str, RealtimeSession], None] | None = None,
        on_record: Callable[[CallRecord], None] | None = None,
        on_item_starts: Callable[[dict[str, int]], None] | None = None,
    ) -> None:
        """`openai` tells where the model is; or `open_model` connects to it. Raises MisuseError without either.

        `data_dir` None: calls are not recorded. `disk`: writes the records. `config`: see `RealtimeSession`.

        `on_session` is given each session before it begins, `on_record` what was written of each recorded call, and
        `on_item_starts` where each item that was heard begins in all audio sent to the phone, in bytes.
        """
        if openai is None and open_model is None:
            raise MisuseError("a switchboard needs a model: give `openai` or `open_model`")
        self._agent = agent
        self._model = model
        self._openai = openai
        self._open_model = open_model or self._open_openai
        self._audio = audio
        self._data_dir = data_dir
        self._disk = disk
        self._config = config
        self._on_session = on_session
        self._on_record = on_record
        self._on_item_starts = on_item_starts
        self._calls: set[asyncio.Task[None]] = set()

    def answer(self, start: Start, line: PhoneLine) -> TwilioTransport:
        """Begin to talk to this call; see `AnswerCall`."""
        recorder = self._recorder(start)
        transport = TwilioTransport(start, line, open_model=self._open_model, audio=self._audio, tap=recorder)
        call = asyncio.get_running_loop().create_task(self._talk(transport, recorder), name=f"call {start.call_sid}")
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return transport

    async def close(self) -> None:
        """Wait until the records of all calls are written, a few seconds at most."""
        if not self._calls:
            return
        _, pending = await asyncio.wait(self._calls, timeout=CLOSE_S_MAX)
        for call in pending:
            log.error("%s did not end within %g s; it is given up", call.get_name(), CLOSE_S_MAX)
            call.cancel()
        if pending:
            await asyncio.wait(pending, timeout=1.0)

    async def _talk(self, transport: TwilioTransport, recorder: CallRecorder | None) -> None:
        session: RealtimeSession | None = None
        reason = _NOT_BEGUN
        try:
            session = self._session(transport, recorder)
            async with session:
                async for event in session:
                    if isinstance(event, SessionError):
                        level = logging.WARNING if event.level == "warning" else logging.ERROR
                        log.log(level, "call %s: %s", transport.call_sid, event.message)
                    elif isinstance(event, SessionEnd):
                        reason = event.reason
        except BridgeError as e:
            if reason is _NOT_BEGUN:  # else the session has told of it
                log.error("call %s: %s: %s", transport.call_sid, reason, e)  # noqa: TRY400 - no fault of ours
        except Exception:
            log.exception("call %s failed", transport.call_sid)
        finally:
            await transport.close(reason)
            if recorder is not None:
                await self._write_down(session, recorder, reason)

    def _session(self, transport: TwilioTransport, recorder: CallRecorder | None) -> RealtimeSession:
        """Raises MisuseError for an agent that no session can be made of."""
        session = RealtimeSession(
            self._agent, transport=transport, model=self._model, config=self._config, greeting=True
        )
        if recorder is not None:
            session.on(None, recorder.session_event)
        if self._on_session is not None:
            self._on_session(transport.call_sid, session)
        return session

    async def _write_down(self, session: RealtimeSession | None, recorder: CallRecorder, reason: str) -> None:
        history, usage = ((), Tokens()) if session is None else (session.history, session.usage)
        record = await recorder.close(history, usage, reason)
        try:
            if self._on_item_starts is not None:
                self._on_item_starts(recorder.item_wire_start)
            if self._on_record is not None:
                self._on_record(record)
        except Exception:
            log.exception("call %s: what listens for records has failed", record.call_sid)

    def _recorder(self, start: Start) -> CallRecorder | None:
        if self._data_dir is None:
            return None
        clock = asyncio.get_running_loop().time
        head = CallHead(
            call_sid=start.call_sid,
            stream_sid=start.stream_sid,
            direction="inbound",
            from_number="",
            to_number="",
            agent=self._agent.name,
            model=self._model,
            audio=self._audio,
            clock_s=clock(),
        )
        try:
            folder = CallFolder(self._data_dir, start.call_sid)
            return CallRecorder(head, folder, self._disk, clock=clock)
        except (OSError, BridgeError) as e:
            log.error("call %s is not recorded: %s", start.call_sid, e)  # noqa: TRY400 - as above
            return None

    async def _open_openai(
        self, *, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None]
    ) -> ModelSocket:
        assert self._openai is not None
        endpoint = await realtime_endpoint(self._openai, model=self._model)
        return await ModelSocket.open(endpoint, on_frame=on_frame, on_lost=on_lost)
