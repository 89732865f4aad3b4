"""The demo itself: a server, an offline model, a caller; then what the call came to.

Nothing here is made up for show. `ring`: the server is the phone server on loopback, the caller speaks Twilio's
media-stream protocol to it over a real socket, the model hears real speech. `ring_fast`: the same caller, call, session,
records and model in virtual time; only the sockets, and the webhook before them, are left out. In both, only the
operator, who approves, is scripted.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import msgspec
from openai import AsyncOpenAI

from realtime_bridge.errors import TransportError
from realtime_bridge.localmodel.brains.selection import brain_for
from realtime_bridge.localmodel.hibari_voice import HibariVoice
from realtime_bridge.localmodel.moonshine import MoonshineRecognizer
from realtime_bridge.localmodel.parts import Recognizer, Synthesizer
from realtime_bridge.realtime import RealtimeSession
from realtime_bridge.session.events import SessionEvent, ToolApprovalRequested
from realtime_bridge.tape import InlineDisk
from realtime_bridge.transport.inline_socket import InlineModels
from realtime_bridge.transport.model_socket import OpenModel
from telephony.app import create_app
from telephony.call_details import CallDetails
from telephony.calls.answering import Switchboard
from telephony.calls.live import CallEnding, LiveCall
from telephony.demo.agent import SCRIPT, front_desk
from telephony.latency import Latencies
from telephony.offline import OFFLINE_KEY
from telephony.records.folder import CallFolder
from telephony.records.record import BargeIn, CallRecord
from telephony.server import PhoneServer
from telephony.settings import Settings
from telephony.testing.caller import fetch_stream, place_call
from telephony.testing.phone import Ids, SimulatedPhone
from telephony.testing.result import CallResult
from telephony.testing.speech.dialogue import demo_steps
from telephony.testing.virtual_call import place_virtual_call
from telephony.testing.virtual_time import run_virtual

APPROVES_AFTER_S = 1.0
CALL_S_MAX = 90.0
TURN_DETECTION = {"type": "server_vad", "silence_duration_ms": 300}


async def ring(
    *, model_url: str, settings: Settings, on_event: Callable[[SessionEvent], None]
) -> tuple[dict[str, Any], CallRecord]:
    """One call from the recorded caller to the demo agent; returns the result as `demo --json` prints it, and the record.

    Raises TransportError when a part cannot be reached or the call does not end.
    """
    demo = _DemoCall(settings, on_event)
    with ThreadPoolExecutor(1, thread_name_prefix="records") as disk:
        switchboard = demo.switchboard(disk, openai=AsyncOpenAI(base_url=model_url, api_key=OFFLINE_KEY))
        app = create_app(answer=switchboard.answer, settings=settings)
        async with PhoneServer(app) as server:
            stream = await fetch_stream(f"{server.url}/twilio/voice", ids=demo.phone.ids)
            result = await _in_time(place_call(stream, demo_steps(), phone=demo.phone))
            await switchboard.close()
    return demo.conclude(result)


def ring_fast(
    *,
    settings: Settings,
    on_event: Callable[[SessionEvent], None],
    recognizer: Recognizer | None = None,
    voice: Synthesizer | None = None,
) -> tuple[dict[str, Any], CallRecord]:
    """The same call in virtual time, on an event loop of its own; not to be called from within another.

    Speech is really recognised and spoken; the model is told to take as long for it as a server takes (`Delays`).
    Everything else takes no time, so the added latencies are what they are then: zero. The same program makes the same
    call each time, but for its SID and date.

    `recognizer` and `voice` default to the offline model's, which take a second or two to load. Raises MisuseError when
    the packages of the `[local]` extra are missing, TransportError when the call does not end.
    """
    demo = _DemoCall(settings, on_event)
    models = InlineModels(
        brain_factory=brain_for(SCRIPT, None),
        recognizer=recognizer or MoonshineRecognizer(),
        voice=voice or HibariVoice(),
    )

    async def call() -> CallResult:
        switchboard = demo.switchboard(InlineDisk(), open_model=models)
        result = await _in_time(place_virtual_call(switchboard.answer, demo_steps(), phone=demo.phone))
        await switchboard.close()
        return result

    return demo.conclude(run_virtual(call()))


async def _in_time(call: Coroutine[Any, Any, CallResult]) -> CallResult:
    try:
        async with asyncio.timeout(CALL_S_MAX):
            return await call
    except TimeoutError as e:
        raise TransportError(f"the demo call did not end within {CALL_S_MAX:g} s") from e


class _DemoCall:
    """One call of the demo: who answers it, the operator who approves, and what is kept of it for the result."""

    def __init__(self, settings: Settings, on_event: Callable[[SessionEvent], None]) -> None:
        self.phone = SimulatedPhone(Ids(call_sid="CA" + secrets.token_hex(16)))
        self._settings = settings
        self._on_event = on_event
        self._records: list[CallRecord] = []
        self._wire_starts: dict[str, int] = {}
        self._approvals: set[asyncio.Task[None]] = set()

    def switchboard(
        self, disk: Executor, *, openai: AsyncOpenAI | None = None, open_model: OpenModel | None = None
    ) -> Switchboard:
        switchboard = Switchboard(
            front_desk,
            openai=openai,
            open_model=open_model,
            model="local",
            audio=self._settings.realtime_audio,
            data_dir=self._settings.data_dir,
            disk=disk,
            config={"audio": {"input": {"turn_detection": TURN_DETECTION}}},
            on_item_starts=self._wire_starts.update,
        )
        switchboard.live.add_listener(self)
        return switchboard

    def conclude(self, result: CallResult) -> tuple[dict[str, Any], CallRecord]:
        """The result as `demo --json` prints it, and the record, written once more with what the phone knows."""
        if not self._records:
            raise TransportError("the call left no record; the log above says why")
        record = _with_truth(self._records[0], result, self._wire_starts)
        folder = CallFolder(self._settings.data_dir, record.call_sid)
        folder.write_record(record)
        folder.write_timeline(record)
        return _result(record, result, folder), record

    # ---- for the switchboard: CallListener

    def call_began(self, call: LiveCall) -> None:
        call.session.on(None, self._on_event)
        call.session.on("tool_approval_requested", lambda event: self._approve_soon(call.session, event))

    def call_ended(self, _details: CallDetails, ending: CallEnding) -> None:
        if ending.record is not None:
            self._records.append(ending.record)

    # ---- the operator

    def _approve_soon(self, session: RealtimeSession, event: SessionEvent) -> None:
        assert isinstance(event, ToolApprovalRequested)

        async def approve() -> None:
            await asyncio.sleep(APPROVES_AFTER_S)
            await session.approve(event.request)

        task = asyncio.get_running_loop().create_task(approve())
        self._approvals.add(task)
        task.add_done_callback(self._approvals.discard)


def _with_truth(record: CallRecord, result: CallResult, wire_starts: dict[str, int]) -> CallRecord:
    """Each barge-in beside what the phone, which knows, had played of that item."""
    starts = sorted(wire_starts.values())

    def true_ms(barge_in: BargeIn) -> float | None:
        start = wire_starts.get(barge_in.item_id)
        if start is None:
            return 0.0
        end = next((s for s in starts if s > start), len(result.wire))
        return result.heard_ms(start, end)

    barge_ins = tuple(msgspec.structs.replace(b, heard_ms_true=true_ms(b)) for b in record.barge_ins)
    return msgspec.structs.replace(record, barge_ins=barge_ins)


def _result(record: CallRecord, result: CallResult, folder: CallFolder) -> dict[str, Any]:
    answers = Latencies()
    for delay_ms in result.answer_delays_ms():
        answers.add(delay_ms)
    failures = [*([result.failure] if result.failure else []), *result.problems]
    return {
        "ok": not failures and bool(record.barge_ins) and bool(record.handoffs),
        "failures": failures,
        "call_sid": record.call_sid,
        "turns": sum(line.role == "user" for line in record.transcript),
        "tools": [{"name": t.name, "arguments": t.arguments, "approved": t.approved} for t in record.tools],
        "handoffs": [[h.from_agent, h.to_agent] for h in record.handoffs],
        "barge_ins": [
            {"item_id": b.item_id, "audio_end_ms": b.audio_end_ms, "heard_ms_true": b.heard_ms_true}
            for b in record.barge_ins
        ],
        "transcript": [{"role": line.role, "text": line.text, "cut": line.cut} for line in record.transcript],
        "latency_ms": {**record.latency_ms, **answers.summary("answer")},
        "recording": str(folder.recording),
        "tape": str(folder.tape),
        "timeline": str(folder.timeline),
    }
