"""Calls over the API: listed, shown and steered, wherever they live."""

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
from support.api_node import ALL, OTHER_SID, SID, ask, eventually, node

from telephony.calls.commands import AGE_S_MAX, COMMAND_TOPIC, RESULT_TOPIC, CommandError, Hold
from telephony.store.rows import CallEnd, CallRow, ToolRow, TurnRow

CALLER, CALLED = "+14155550100", "+14155550101"


def run(main):
    asyncio.run(asyncio.wait_for(main, 120))


@pytest.fixture
def database(tmp_path):
    return f"sqlite:///{tmp_path}/store.db"


def call_row(number, *, minutes=0, status="ringing", **more):
    return CallRow(
        call_sid=f"CA{number:032d}", direction="inbound", from_number=CALLER, to_number=CALLED, status=status,
        created_at=datetime.now(UTC) + timedelta(minutes=minutes), **{"agent": "desk", "carrier": {"CallerName": "Ann"}, **more},
    )  # fmt: skip


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_calls_are_listed_newest_first_in_pages(database):
    async def main():
        async with node(database) as at:
            for number in range(5):
                await at.store.calls.begin(call_row(number, minutes=number))
            token, seen, cursor = await at.token(), [], ""
            while cursor is not None:
                url = f"{at.url}/calls?limit=2" + (f"&cursor={cursor.replace('+', '%2B')}" if cursor else "")
                _, page, _ = await ask("GET", url, token)
                seen += [call["call_sid"] for call in page["calls"]]
                cursor = page["next_cursor"]
            assert seen == [f"CA{number:032d}" for number in (4, 3, 2, 1, 0)]
            status, problem, _ = await ask("GET", at.url + "/calls?cursor=nonsense", token)
            assert (status, problem["fields"][0]["field"]) == (422, "query.cursor")
            none = await ask("GET", at.url + "/calls?status=completed", token)
            assert none[1]["calls"] == []
            status, problem, _ = await ask("GET", at.url + "/calls?status=asleep&limit=0&since=yesterday", token)
            assert [f["field"] for f in problem["fields"]] == ["query.status", "query.since", "query.limit"]

    run(main())


def test_numbers_are_masked_without_the_right_to_see_them(database):
    async def main():
        async with node(database) as at:
            await at.store.calls.begin(call_row(1, parameters={"back": CALLED}))
            await at.store.calls.event(f"CA{1:032d}", "transfer", {"to": CALLED, "n": [1]}, datetime.now(UTC))
            end = CallEnd(
                disposition="hung up", ended_at=datetime.now(UTC), duration_ms=1000, status="completed",
                transcript=(TurnRow(role="user", text=f"Ring {CALLED}, please."),),
                tools=(ToolRow(call_id="c", name="ring", arguments={"number": CALLED}, start_ms=0, output="ok"),),
            )  # fmt: skip
            await at.store.calls.finish(f"CA{1:032d}", end)
            masked, full = await at.token("calls:read"), await at.token("calls:read", "numbers:read")
            for path in (f"/calls/CA{1:032d}", "/calls", f"/calls/CA{1:032d}/events"):
                status, shown, _ = await ask("GET", at.url + path, masked)
                assert status == 200
                assert CALLED not in json.dumps(shown)
                assert "Ann" not in json.dumps(shown)
                assert "+1 ***-***-0101" in json.dumps(shown)
                assert CALLED in json.dumps((await ask("GET", at.url + path, full))[1])
            _, shown, _ = await ask("GET", f"{at.url}/calls/CA{1:032d}", full)
            assert (shown["from"], shown["transcript"][0]["text"]) == (CALLER, f"Ring {CALLED}, please.")
            assert shown["tools"][0]["arguments"] == {"number": CALLED}
            by_number = at.url + "/calls?number=%2B14155550100"
            assert (await ask("GET", by_number, masked))[0] == 403
            assert len((await ask("GET", by_number, full))[1]["calls"]) == 1

    run(main())


def test_what_is_not_there_is_not_found(database):
    async def main():
        async with node(database) as at:
            token = await at.token("admin")
            for path in ("", "/live", "/events", "/events/stream", "/recording", "/timeline.svg", "/call.json"):
                status, problem, _ = await ask("GET", f"{at.url}/calls/{SID}{path}", token)
                assert (status, problem["status"]) == (404, 404), path
            assert (await ask("GET", at.url + "/calls/..%2F..%2Fetc", token))[0] in (404, 422)
            assert (await ask("GET", at.url + "/approvals/apr_1", token))[0] == 404
            assert (await ask("GET", at.url + "/attempts/1", token))[0] == 404

    run(main())


async def stream(url, token, headers=None):
    """The lines of a stream of events until it ends."""
    _, content, told = await ask("GET", url, token, headers=headers, raw=True)
    assert told["content-type"].startswith("text/event-stream")
    return content.decode().splitlines()


def test_events_are_followed_on_any_node_until_the_call_ends(database):
    async def main():
        async with node(database) as owner, node(database, "node-2") as other:
            token = await owner.token()
            async with owner.call():
                await owner.store.calls.event(SID, "first", {"n": 1}, datetime.now(UTC))
                following = asyncio.create_task(stream(f"{other.url}/calls/{SID}/events/stream", token))
                await owner.store.calls.event(SID, "second", {"n": 2}, datetime.now(UTC))
            end = CallEnd(disposition="hung up", ended_at=datetime.now(UTC), duration_ms=1)
            await owner.store.calls.finish(SID, end)
            lines = await following
            assert [line for line in lines if line.startswith("event: ")] == [
                "event: first",
                "event: second",
                "event: end",
            ]
            (first,) = await owner.store.calls.events(SID, limit=1)
            resumed = await stream(
                f"{other.url}/calls/{SID}/events/stream", token, {"last-event-id": str(first.event_id)}
            )
            assert [line for line in resumed if line.startswith("event: ")] == ["event: second", "event: end"]

    run(main())


# ---- steering --------------------------------------------------------------------------------------------------------

COMMANDS = (
    ("hang-up", {"after_goodbye": False}, ("hang_up", "hung up by an operator", False)),
    ("transfer", {"to": "+14155550102", "warm": True, "summary": "Ann"}, ("transfer", "+14155550102", True, "Ann")),
    ("say", {"text": "One moment."}, ("say", "One moment.")),
    ("mute", None, ("mute", True)),
    ("unmute", None, ("mute", False)),
    ("mute", {"who": "agent"}, ("mute_agent", True)),
    ("hold", None, ("hold",)),
    ("resume", None, ("resume",)),
    ("press", {"digits": "1*#"}, ("press", "1*#")),
    ("pause-recording", {"seconds": 30}, ("pause_recording", 30)),
    ("resume-recording", None, ("resume_recording",)),
    ("stop-recording", {"delete": True}, ("stop_recording", True, "an operator deleted it")),
)


@pytest.mark.parametrize("asked_at", [0, 1], ids=["its own process", "another process"])
def test_a_live_call_is_steered_from_anywhere(database, asked_at):
    async def main():
        async with node(database) as owner, node(database, "node-2") as other, owner.call() as call:
            at, token = (owner, other)[asked_at], await owner.token(name="ann")
            answers = await asyncio.gather(
                *(ask("POST", f"{at.url}/calls/{SID}/{path}", token, body) for path, body, _ in COMMANDS)
            )
            assert [(status, told["state"]) for status, told, _ in answers] == [(200, "done")] * len(COMMANDS), answers
            assert answers[1][1]["result"]["connected"] is True
            assert sorted(call.call.control.done, key=str) == sorted((done for *_, done in COMMANDS), key=str)
            status, live, _ = await ask("GET", f"{at.url}/calls/{SID}/live", token)
            assert (status, live["state"]["agent"], live["state"]["muted"]) == (200, "desk", False)
            audits = await owner.store.access.audits(subject=SID)
            assert ("token:ann", "call.hang_up") in [(a.who, a.action) for a in audits]
            events = [e.data["verb"] for e in await owner.store.calls.events(SID) if e.kind == "command"]
            assert live["state"]["recording"] == "on"
            assert sorted(events) == sorted(path.replace("-", "_").removeprefix("un") for path, *_ in COMMANDS)

    run(main())


@pytest.mark.parametrize("asked_at", [0, 1], ids=["its own process", "another process"])
def test_what_takes_long_is_started_and_what_is_refused_says_why(database, asked_at, caplog):
    async def main():
        quick = {"started_after_s": 1.0}
        async with (
            node(database, **quick) as owner,
            node(database, "node-2", **quick) as other,
            owner.call() as call,
        ):
            at, token = (owner, other)[asked_at], await owner.token()
            calls = f"{at.url}/calls/{SID}"
            call.call.control.stuck = asyncio.Event()
            status, told, _ = await ask("POST", calls + "/hang-up", token)
            assert (status, told["state"]) == (202, "started")
            call.call.control.stuck.set()
            (event,) = await eventually(lambda: owner.store.calls.events(SID))
            assert (event.kind, event.data["verb"], event.data["ok"]) == ("command", "hang_up", True)
            status, problem, _ = await ask("POST", calls + "/transfer", token, {"to": "+1000"})
            assert (status, problem["code"]) == (409, "refused")
            assert "no number" in problem["detail"]
            status, problem, _ = await ask("POST", calls + "/say", token, {"text": "crash"})
            assert (status, problem["code"]) == (500, "failed")
            assert "a fault of ours" not in problem["detail"], "that is for the log"
            for path, body in (
                ("/press", {"digits": "x"}),
                ("/press", {}),
                ("/transfer", None),
                ("/say", {"text": " "}),
            ):
                assert (await ask("POST", calls + path, token, body))[0] == 422

    run(main())
    assert "a fault of ours" in caplog.text


def test_a_call_that_is_over_or_has_no_agent_cannot_be_steered(database):
    async def main():
        async with node(database) as at:
            token = await at.token()
            await at.store.calls.begin(call_row(1))
            await at.store.calls.begin(call_row(2, status="in-progress", node="node-2"))
            await at.store.calls.status(f"CA{2:032d}", "completed", datetime.now(UTC))
            for number in (1, 2):
                status, problem, _ = await ask("POST", f"{at.url}/calls/CA{number:032d}/hold", token)
                assert (status, problem["code"]) == (409, "not-live")

    run(main())


def test_a_process_that_does_not_answer_leaves_it_open(database):
    async def main():
        async with node(database, answer_s_max=0.5) as at:
            await at.store.calls.begin(call_row(1, status="in-progress", node="node-2"))
            status, problem, _ = await ask("POST", f"{at.url}/calls/CA{1:032d}/hold", await at.token())
            assert (status, problem["code"]) == (504, "no-answer")
            assert "look at the call before you repeat it" in problem["detail"]

    run(main())


def test_a_command_told_twice_runs_once_and_an_old_one_never(database):
    async def main():
        answers = asyncio.Queue()
        async with node(database) as owner, node(database, "node-2") as other, owner.call() as call:
            subscription = other.store.bus.subscribe(RESULT_TOPIC, answers.put_nowait)
            now = datetime.now(UTC).timestamp()

            def body(number, **more):
                return {"id": number, "call_sid": SID, "verb": "hold", "args": {}, "by": "x", "sent_at": now, **more}

            for sent in (
                body("1"), body("1"), body("2", sent_at=now - AGE_S_MAX - 1), body("3", verb="explode"),
                body("4", args={"x": 1}), body("5", call_sid=OTHER_SID),
            ):  # fmt: skip
                await other.store.bus.publish(COMMAND_TOPIC, sent, node="node-1")
            told = [(await answers.get()).body for _ in range(5)]
            results = {answer["id"]: answer.get("code", "ok") for answer in told}
            assert results == {"1": "ok", "2": "refused", "3": "refused", "4": "refused", "5": "not_live"}
            assert call.call.control.done == [("hold",)]
            subscription.close()

    run(main())


def test_an_answer_that_is_too_long_for_the_bus_is_refused_at_once(database):
    async def main():
        async with node(database) as owner, node(database, "node-2") as other, owner.call() as call:

            async def endless(to, **_):
                return {"to": to, "words": "x" * 300_000}

            call.call.control.transfer = endless
            url, token = f"{other.url}/calls/{SID}/transfer", await other.token()
            status, problem, _ = await ask("POST", url, token, {"to": "+14155550102"})
            assert (status, problem["code"]) == (500, "failed")
            assert "bytes" in problem["detail"]

    run(main())


def test_a_call_takes_so_many_commands_at_once(database):
    async def main():
        async with node(database, started_after_s=0.3) as at, at.call() as call:
            call.call.control.stuck = asyncio.Event()
            outcomes = await asyncio.gather(
                *(at.commands.run(SID, Hold(), by="x") for _ in range(25)), return_exceptions=True
            )
            assert sorted({getattr(o, "code", "started") for o in outcomes}) == ["busy", "started"]
            assert sum(isinstance(o, CommandError) for o in outcomes) == 5
            call.call.control.stuck.set()

    run(main())


def test_no_number_and_no_token_is_in_the_log(database, caplog):
    caplog.set_level(logging.INFO)

    async def main():
        async with node(database) as at, at.call():
            token = await at.token(*ALL)
            await ask("POST", f"{at.url}/calls/{SID}/transfer", token, {"to": "+14155550102"})
            await ask("POST", f"{at.url}/calls/{SID}/transfer", token, {"to": "+1000"})
            return token

    token = asyncio.run(main())
    assert token not in caplog.text
    assert "5550102" not in caplog.text
