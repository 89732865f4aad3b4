"""Records of calls, made up line by line, for tests of what looks at records."""

from datetime import UTC, datetime

from telephony.records.record import BargeIn, CallRecord, Handoff, Line, ToolUse


def record(*happenings, agent="Desk", ended="the caller hung up", seconds=30.0, barge_ins=0):
    """`happenings`: lines, tools and hand-offs, in any order."""

    def of(kind):
        return tuple(happening for happening in happenings if isinstance(happening, kind))

    return CallRecord(
        call_sid="CA" + "0" * 32,
        direction="inbound",
        from_number="",
        to_number="",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        agent=agent,
        duration_ms=round(seconds * 1000),
        disposition=ended,
        transcript=of(Line),
        tools=of(ToolUse),
        handoffs=of(Handoff),
        barge_ins=tuple(BargeIn(item_id="item", audio_end_ms=800, at_ms=1000) for _ in range(barge_ins)),
    )


def caller(text, start_s=0.0, end_s=0.0):
    return Line(role="user", text=text, start_ms=round(start_s * 1000), end_ms=round(end_s * 1000))


def agent(text, start_s=0.0, end_s=0.0, *, name="Desk", unheard="", answer_ms=None):
    times = {"start_ms": round(start_s * 1000), "end_ms": round(end_s * 1000)}
    answer = {} if answer_ms is None else {"answer_ms": answer_ms}
    return Line(role="assistant", text=text, agent=name, cut=bool(unheard), unheard=unheard, **times, **answer)


def tool(name, arguments=None, at_s=0.0, *, outcome="done", output="{}", by="Desk"):
    return ToolUse(
        call_id=f"{name}{at_s}", name=name, arguments=arguments or {}, start_ms=round(at_s * 1000), outcome=outcome,
        output=output, agent=by,
    )  # fmt: skip


def handoff(from_agent, to_agent, at_s=0.0):
    return Handoff(from_agent=from_agent, to_agent=to_agent, at_ms=round(at_s * 1000))
