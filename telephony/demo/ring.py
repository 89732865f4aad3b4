"""The demo itself: a server, an offline model, a caller; then what the call came to.

Nothing here is made up for show: the server is the phone server on loopback, the caller speaks Twilio's media-stream
protocol to it over a real socket, the model hears real speech. Only the operator, who approves, is scripted.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from openai import AsyncOpenAI

from realtime_bridge.errors import TransportError
from realtime_bridge.realtime import RealtimeSession
from realtime_bridge.session.events import SessionEvent, ToolApprovalRequested
from telephony.app import create_app
from telephony.calls.answering import Switchboard
from telephony.calls.folder import CallFolder
from telephony.calls.record import BargeIn, CallRecord
from telephony.demo.agent import front_desk
from telephony.latency import Latencies
from telephony.server import PhoneServer
from telephony.settings import Settings
from telephony.testing.caller import fetch_stream, place_call
from telephony.testing.phone import Ids, SimulatedPhone
from telephony.testing.result import CallResult
from telephony.testing.speech.dialogue import demo_steps

APPROVES_AFTER_S = 1.0
CALL_S_MAX = 90.0
TURN_DETECTION = {"type": "server_vad", "silence_duration_ms": 300}


async def ring(
    *, model_url: str, settings: Settings, on_event: Callable[[SessionEvent], None]
) -> tuple[dict[str, Any], CallRecord]:
    """One call from the recorded caller to the demo agent; returns the result as `demo --json` prints it, and the record.

    Raises TransportError when a part cannot be reached or the call does not end.
    """
    records: list[CallRecord] = []
    wire_starts: dict[str, int] = {}
    approvals: set[asyncio.Task[None]] = set()

    def on_session(_call_sid: str, session: RealtimeSession) -> None:
        session.on(None, on_event)
        session.on("tool_approval_requested", lambda event: _approve_soon(session, event, approvals))

    ids = Ids(call_sid="CA" + secrets.token_hex(16))
    with ThreadPoolExecutor(1, thread_name_prefix="records") as disk:
        switchboard = Switchboard(
            front_desk,
            openai=AsyncOpenAI(base_url=model_url, api_key="offline"),
            model="local",
            audio=settings.realtime_audio,
            data_dir=settings.data_dir,
            disk=disk,
            config={"audio": {"input": {"turn_detection": TURN_DETECTION}}},
            on_session=on_session,
            on_record=records.append,
            on_item_starts=wire_starts.update,
        )
        app = create_app(answer=switchboard.answer, settings=settings)
        async with PhoneServer(app) as server:
            stream = await fetch_stream(f"{server.url}/twilio/voice", ids=ids)
            try:
                async with asyncio.timeout(CALL_S_MAX):
                    phone = SimulatedPhone(ids)
                    result = await place_call(stream, demo_steps(), phone=phone)
            except TimeoutError as e:
                raise TransportError(f"the demo call did not end within {CALL_S_MAX:g} s") from e
            await switchboard.close()
    if not records:
        raise TransportError("the call left no record; the log above says why")
    record = _with_truth(records[0], result, wire_starts)
    folder = CallFolder(settings.data_dir, ids.call_sid)
    folder.write_record(record)
    folder.write_timeline(record)
    return _result(record, result, folder), record


def _approve_soon(session: RealtimeSession, event: SessionEvent, tasks: set[asyncio.Task[None]]) -> None:
    assert isinstance(event, ToolApprovalRequested)

    async def approve() -> None:
        await asyncio.sleep(APPROVES_AFTER_S)
        await session.approve(event.request)

    task = asyncio.get_running_loop().create_task(approve())
    tasks.add(task)
    task.add_done_callback(tasks.discard)


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
        "recording": _path(folder.recording),
        "tape": _path(folder.tape),
        "timeline": _path(folder.timeline),
    }


def _path(path: Path) -> str:
    return str(path)
