"""Calls placed over the API: once per key, or refused with a reason; through the real dialler, at a simulated Twilio."""

import asyncio
import contextlib

from support.api_node import api_at, ask, eventually, node
from support.dialling import ANN, BOB, FAULTS, FROM, TOO_MANY, dialling

from telephony.api import Services
from telephony.calls.commands import CallCommands
from telephony.calls.live import LiveCalls


def run(main):
    asyncio.run(asyncio.wait_for(main, 120))


@contextlib.asynccontextmanager
async def office(directory, **settings):
    """A dialler's world, the URL of its API, and a token that may place calls."""
    async with dialling(f"sqlite:///{directory}/store.db", **settings) as world:
        commands = CallCommands(world.store, LiveCalls())
        services = Services(
            store=world.store, commands=commands, dialler=world.dialler, rest=world.rest, data_dir=directory
        )
        async with api_at(services) as url:
            _, token = await world.store.access.create_token("crm", ("calls:read", "calls:write"), None)
            yield world, url, token


def test_a_call_is_placed_once_per_key(tmp_path):
    async def main():
        async with office(tmp_path) as (world, url, token):
            key = {"idempotency-key": "order-17"}
            body = {"to": ANN, "parameters": {"order": "17"}, "ring_seconds": 20}
            status, placed, headers = await ask("POST", url + "/calls", token, body, headers=key)
            assert (status, placed["fresh"]) == (201, True), placed
            assert headers["location"] == f"/api/v1/calls/{placed['call_sid']}"
            again = await asyncio.gather(*(ask("POST", url + "/calls", token, body, headers=key) for _ in range(3)))
            assert {(status, told["call_sid"], told["fresh"]) for status, told, _ in again} == {
                (200, placed["call_sid"], False)
            }
            assert world.rung(ANN) == 1
            _, call, _ = await ask("GET", f"{url}/calls/{placed['call_sid']}", token)
            assert (call["direction"], call["parameters"], call["to"]) == (
                "outbound",
                {"order": "17"},
                "+1 ***-***-0111",
            )
            _, attempt, _ = await ask("GET", f"{url}/attempts/{placed['attempt_id']}", token)
            assert (attempt["call_sid"], attempt["from"]) == (placed["call_sid"], "+1 ***-***-0100")
            status, problem, _ = await ask("POST", url + "/calls", token, {"to": BOB}, headers=key)
            assert (status, problem["code"]) == (409, "key-reused")
            _, other = await world.store.access.create_token("other", ("calls:write",), None)
            status, _, _ = await ask("POST", url + "/calls", other, {"to": BOB}, headers=key)
            assert (status, world.rung(BOB)) == (201, 1), "keys of one token say nothing about another's"
            assert (await world.store.attempts.get(placed["attempt_id"])).details["requested_by"] == "token:crm"

    run(main())


def test_what_is_not_dialled_says_why(tmp_path):
    async def main():
        async with office(tmp_path) as (world, url, token):
            await world.store.suppressions.add(BOB)
            for body, expected in (
                ({"to": "+49301234567"}, (422, "country")),
                ({"to": "911"}, (422, "emergency")),
                ({"to": "12"}, (422, "short-code")),
                ({"to": "+1415555267"}, (422, "not-a-number")),
                ({"to": "nobody"}, (422, "not-a-number")),
                ({"to": BOB}, (409, "suppressed")),
                ({"to": ANN, "from": "me"}, (422, "request")),
                ({"to": ANN, "parameters": {"a b": "1"}}, (422, "request")),
                ({"to": ANN, "ring_seconds": 0}, (422, "invalid-request")),
                ({"from": FROM}, (422, "invalid-request")),
                ({"to": ANN, "agnet": "x"}, (422, "invalid-request")),
            ):
                status, problem, _ = await ask("POST", url + "/calls", token, body)
                assert (status, problem["code"]) == expected, problem
                if status == 422:
                    assert problem["fields"][0]["field"].startswith("body."), problem
                assert BOB not in problem["detail"]
            headers = {"idempotency-key": "x" * 101}
            assert (await ask("POST", url + "/calls", token, {"to": ANN}, headers=headers))[0] == 422
            assert world.rung(ANN) == world.rung(BOB) == 0

    run(main())


def test_a_twilio_that_fails_is_told_apart_from_one_that_refuses(tmp_path):
    async def main():
        async with office(tmp_path, settle_seconds=0.2) as (world, url, token):
            world.before[:] = [TOO_MANY] * 9
            status, problem, headers = await ask("POST", url + "/calls", token, {"to": ANN})
            assert (status, problem["code"], headers["retry-after"]) == (503, "busy", "5")
            world.before[:] = [FAULTS["500"]]
            status, problem, _ = await ask("POST", url + "/calls", token, {"to": ANN})
            assert (status, problem["code"]) == (504, "unknown")
            status, attempt, _ = await ask("GET", f"{url}/attempts/{problem['attempt_id']}", token)
            assert (status, attempt["status"]) == (200, "claimed")

    run(main())


def test_a_call_that_no_agent_has_is_ended_at_twilio(tmp_path):
    async def main():
        async with office(tmp_path) as (world, url, token):
            world.twilio.person(ANN, answers_after_s=20)
            _, placed, _ = await ask("POST", url + "/calls", token, {"to": ANN})
            status, told, _ = await ask("POST", f"{url}/calls/{placed['call_sid']}/hang-up", token)
            assert (status, told["result"]) == (200, {"ended": True})
            (call,) = world.twilio.calls_to(ANN)
            await call.until_status("canceled", "completed")
            await eventually(lambda: over(world, placed["attempt_id"]))
            status, problem, _ = await ask("POST", f"{url}/calls/{placed['call_sid']}/hang-up", token)
            assert (status, problem["code"]) == (409, "not-live")

    run(main())


async def over(world, attempt_id):
    return (await world.store.attempts.get(attempt_id)).status in ("canceled", "completed")


def test_a_server_without_a_dialler_says_so(tmp_path):
    async def main():
        async with node(f"sqlite:///{tmp_path}/store.db") as at:
            status, problem, _ = await ask("POST", at.url + "/calls", await at.token(), {"to": ANN})
            assert (status, problem["code"]) == (503, "settings")

    run(main())
