"""Who talks to a call: for each call whose media begins, a transport, a session with the agent, and the records.

One task owns each call, from `start` to the last line of its record. Nothing of one call is in the way of another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from realtime_bridge.agent import Agent
from realtime_bridge.approvals import ApprovalSettings
from realtime_bridge.audio.transcode import AudioKind
from realtime_bridge.errors import BridgeError, MisuseError
from realtime_bridge.realtime import RealtimeSession
from realtime_bridge.session.events import SessionEnd, SessionError
from realtime_bridge.session.machine import greeting
from realtime_bridge.session.usage import Tokens
from realtime_bridge.transport.base import ModelLost
from realtime_bridge.transport.endpoint import realtime_endpoint
from realtime_bridge.transport.model_socket import ModelSocket, OpenModel
from realtime_bridge.transport.waiting import WaitingModels
from telephony.agents import AgentDirectory, PhoneAgent
from telephony.call_details import CallDetails
from telephony.calls.context import PastCalls, PhoneContext
from telephony.calls.expected import ExpectedCall, ExpectedCalls
from telephony.calls.live import CallEnding, LiveCall, LiveCalls
from telephony.calls.recording_policy import EarlierStreams, RecordingPolicy
from telephony.records.folder import CallFolder
from telephony.records.record import CallRecord
from telephony.records.recorder import CallHead, CallRecorder, tape_zero
from telephony.steering.control import CallControl
from telephony.stream import PhoneLine
from telephony.transport import TwilioTransport
from telephony.twilio.messages import Start

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = logging.getLogger(__name__)

CLOSE_S_MAX = 10.0
_NOT_BEGUN = "the session could not begin"


class MakeControl(Protocol):
    """Makes the steering of one call."""

    def __call__(self, transport: TwilioTransport, details: CallDetails) -> CallControl: ...


class Switchboard:
    """Answers calls with the agents of a directory. `answer` is what the phone server wants (`AnswerCall`)."""

    def __init__(
        self,
        agents: Agent | PhoneAgent | AgentDirectory,
        *,
        model: str,
        openai: AsyncOpenAI | None = None,
        open_model: OpenModel | None = None,
        audio: AudioKind = "pcm",
        data_dir: Path | None = None,
        disk: Executor,
        config: Mapping[str, Any] | None = None,
        rotate_after_s: float | None = 55 * 60.0,
        approvals: ApprovalSettings | None = None,
        control: MakeControl | None = None,
        past_calls: PastCalls | None = None,
        recording: RecordingPolicy | None = None,
        on_item_starts: Callable[[dict[str, int]], None] | None = None,
    ) -> None:
        """`openai` tells where the model is; or `open_model` connects to it. Raises MisuseError without either.

        `data_dir` None: calls are not recorded. `disk`: writes the records. `config`, `rotate_after_s`: see `RealtimeSession`. `control`:
        default, a steering without a way to Twilio's API. `past_calls`: what agents are told of earlier calls. `recording`:
        by default all calls are recorded, without a word to the caller.

        `on_item_starts` is given where each item that was heard begins in all audio sent to the phone, in bytes.
        """
        if openai is None and open_model is None:
            raise MisuseError("a switchboard needs a model: give `openai` or `open_model`")
        self.agents = agents if isinstance(agents, AgentDirectory) else AgentDirectory(agents)
        self.live = LiveCalls()
        self._model = model
        self._openai = openai
        self._models = WaitingModels(open_model or self._open_openai)
        self._expected = ExpectedCalls(models=self._models, past_calls=past_calls)
        self._audio = audio
        self._data_dir = data_dir
        self._disk = disk
        self._config = config
        self._rotate_after_s = rotate_after_s
        self._approvals = approvals
        self._control = control or CallControl
        self._recording = recording or RecordingPolicy()
        self._earlier = EarlierStreams()
        self._on_item_starts = on_item_starts
        self._calls: set[asyncio.Task[None]] = set()

    def expect(self, details: CallDetails, *, here: bool = True) -> None:
        """A call's webhook was answered: its media will come. `here` False: it rang at another process."""
        self._expected.expect(details, here=here)

    def answer(self, start: Start, line: PhoneLine) -> TwilioTransport:
        """Begin to talk to this call; see `AnswerCall`."""
        expected = self._expected.take(start.call_sid)
        agent = self.agents.get(expected.details.agent)
        recorder = self._recorder(start, expected.details, agent)
        transport = TwilioTransport(start, line, open_model=self._models.for_call(), audio=self._audio, tap=recorder)
        control = self._control(transport, expected.details)
        if recorder is not None:
            told = self._earlier.were_told(start.call_sid)
            notice = "" if told else self._recording.notice_of(agent)
            control.recording.attach(recorder, notice=notice, greeting=greeting(expected.details.opening))
        talk = self._talk(agent.agent, transport, control, expected, recorder)
        call = asyncio.get_running_loop().create_task(talk, name=f"call {start.call_sid}")
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return transport

    async def close(self) -> None:
        """Wait until the records of all calls are written, a few seconds at most."""
        self._expected.close()
        self._models.close()
        if not self._calls:
            return
        _, pending = await asyncio.wait(self._calls, timeout=CLOSE_S_MAX)
        for call in pending:
            log.error("%s did not end within %g s; it is given up", call.get_name(), CLOSE_S_MAX)
            call.cancel()
        if pending:
            await asyncio.wait(pending, timeout=1.0)

    async def _talk(
        self,
        agent: Agent,
        transport: TwilioTransport,
        control: CallControl,
        expected: ExpectedCall,
        recorder: CallRecorder | None,
    ) -> None:
        session: RealtimeSession | None = None
        call: LiveCall | None = None
        reason, failed = _NOT_BEGUN, False
        try:
            context = PhoneContext(details=expected.details, control=control, past_calls=await expected.past_calls())
            session = self._session(agent, transport, context, recorder)
            control.attach(session)
            call = LiveCall(
                details=expected.details, session=session, transport=transport, context=context, control=control
            )
            log.info("the call begins: %s, with %s", expected.details.direction, agent.name)
            self.live.began(call)
            async with session:
                async for event in session:
                    if isinstance(event, SessionError):
                        failed = failed or event.fatal
                        level = logging.WARNING if event.level == "warning" else logging.ERROR
                        log.log(level, "call %s: %s", transport.call_sid, event.message)
                    elif isinstance(event, SessionEnd):
                        reason = event.reason
        except BridgeError as e:
            failed = True
            if reason is _NOT_BEGUN:  # else the session has told of it
                log.error("call %s: %s: %s", transport.call_sid, reason, e)  # noqa: TRY400 - no fault of ours
        except Exception:
            failed = True
            log.exception("call %s failed", transport.call_sid)
        finally:
            await transport.close(reason)
            in_order = transport.ended_in_order and not failed
            self.live.over(transport.call_sid, call, in_order=in_order)
            await control.close()
            record = None
            if recorder is not None:
                self._earlier.ended(transport.call_sid, control.recording.state)
                record = await self._write_down(session, recorder, control, reason)
            ending = CallEnding(
                reason=control.ending or reason,
                in_order=in_order,
                steered=control.ending is not None,
                stream_sid=transport.stream_sid,
                record=record,
                recording=None if recorder is None else recorder.place,
            )
            log.info("the call is over: %s", ending.reason)
            self.live.ended(expected.details, ending)

    def _session(
        self, agent: Agent, transport: TwilioTransport, context: PhoneContext, recorder: CallRecorder | None
    ) -> RealtimeSession:
        """Raises MisuseError for an agent that no session can be made of."""
        session = RealtimeSession(
            agent,
            transport=transport,
            model=self._model,
            config=self._config,
            rotate_after_s=self._rotate_after_s,
            approvals=self._approvals,
            greeting=False if context.control.recording.announces else context.details.opening or True,
            context=context,
            tap=recorder,
        )
        if recorder is not None:
            session.on(None, recorder.session_event)
        return session

    async def _write_down(
        self, session: RealtimeSession | None, recorder: CallRecorder, control: CallControl, reason: str
    ) -> CallRecord:
        history, usage = ((), Tokens()) if session is None else (session.history, session.usage)
        if control.ending is not None:
            recorder.note("ending", asyncio.get_running_loop().time(), reason=control.ending)
        record = await recorder.close(history, usage, control.ending or reason, control.recording.consent())
        if self._on_item_starts is not None:
            try:
                self._on_item_starts(recorder.item_wire_start)
            except Exception:
                log.exception("call %s: what listens for items has failed", record.call_sid)
        return record

    def _recorder(self, start: Start, details: CallDetails, agent: PhoneAgent) -> CallRecorder | None:
        if self._data_dir is None or not self._recording.wants(details, agent):
            return None
        if self._earlier.refused(start.call_sid):
            log.info("call %s has come back, and is not recorded, as was asked before", start.call_sid)
            return None
        clock = asyncio.get_running_loop().time
        head = CallHead(
            call_sid=start.call_sid,
            stream_sid=start.stream_sid,
            direction=details.direction,
            from_number=details.caller,
            to_number=details.called,
            agent=agent.name,
            model=self._model,
            audio=self._audio,
            clock_s=tape_zero(clock()),
        )
        try:
            folder = CallFolder.of_next_stream(self._data_dir, start.call_sid, key=self._recording.key)
            return CallRecorder(head, folder, self._disk, clock=clock, redactor=self._recording.redactor)
        except (OSError, BridgeError) as e:
            log.error("call %s is not recorded: %s", start.call_sid, e)  # noqa: TRY400 - as above
            return None

    async def _open_openai(
        self, *, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None]
    ) -> ModelSocket:
        assert self._openai is not None
        endpoint = await realtime_endpoint(self._openai, model=self._model)
        return await ModelSocket.open(endpoint, on_frame=on_frame, on_lost=on_lost)
