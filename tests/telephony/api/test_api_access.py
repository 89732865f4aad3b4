"""Who is let in: tokens, scopes, limits, and that nothing of a token shows."""

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
from support.api_node import SID, ask, node

from realtime_bridge.errors import MisuseError
from telephony.api.access import FAILURES_MAX, FailureLimit
from telephony.api.body import BODY_BYTES_MAX
from telephony.scopes import SCOPES, check_scopes


def run(main):
    asyncio.run(asyncio.wait_for(main, 120))


@pytest.fixture
def database(tmp_path):
    return f"sqlite:///{tmp_path}/store.db"


def test_without_a_valid_token_nothing_is_told(database, caplog):
    caplog.set_level(logging.DEBUG)

    async def main():
        async with node(database) as at:
            status, problem, headers = await ask("GET", at.url + "/calls")
            assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="realtime-bridge"')
            assert headers["content-type"] == "application/problem+json"
            assert problem["code"] == "unauthorized"
            assert "token create" in problem["detail"]

            status, problem, headers = await ask("GET", at.url + "/calls", "rb_guess")
            assert (status, problem["code"]) == (401, "unauthorized")
            assert 'error="invalid_token"' in headers["www-authenticate"]

            status, _, headers = await ask("GET", at.url + "/calls", headers={"authorization": "Basic YTpi"})
            assert status == 400
            assert 'error="invalid_request"' in headers["www-authenticate"]

            past = await at.token(expires_at=datetime.now(UTC) - timedelta(seconds=1))
            assert (await ask("GET", at.url + "/calls", past))[0] == 401

            secret = await at.token()
            assert (await ask("GET", at.url + "/calls", secret))[0] == 200
            (row,) = [row for row in await at.store.access.list() if row.expires_at is None]
            assert row.last_used_at is not None
            assert await at.store.access.revoke(row.token_id)
            assert (await ask("GET", at.url + "/calls", secret))[0] == 401, "revoked at once"
            assert (await ask("GET", f"{at.url}/calls?access_token={secret}"))[0] == 401, "the header only"
            assert secret not in caplog.text
            assert "rb_guess" not in caplog.text

    run(main())


def test_a_token_may_do_what_its_scopes_say_and_admin_everything(database):
    async def main():
        async with node(database) as at:
            reader, admin = await at.token("calls:read"), await at.token("admin")
            status, problem, headers = await ask("POST", f"{at.url}/calls/{SID}/hold", reader)
            assert (status, problem["code"], problem["scope"]) == (403, "forbidden", "calls:write")
            assert headers["www-authenticate"].endswith('error="insufficient_scope", scope="calls:write"')
            assert (await ask("POST", f"{at.url}/calls/{SID}/hold", admin))[0] == 404
            assert (await ask("GET", at.url + "/suppressions", await at.token("suppressions:read")))[0] == 403
            assert (await ask("GET", at.url + "/suppressions", admin))[0] == 200

    run(main())


def test_scopes_are_known_and_at_least_one():
    assert check_scopes(["admin", "calls:read", "admin"]) == ("calls:read", "admin")
    for wrong in ([], ["calls"], ["calls:read", "x"]):
        with pytest.raises(MisuseError, match="scope"):
            check_scopes(wrong)


def test_guessing_is_slowed_but_locks_nobody_out(database):
    async def main():
        async with node(database) as at:
            good, late = await at.token(), await at.token()
            assert (await ask("GET", at.url + "/calls", good))[0] == 200
            answers = [(await ask("GET", at.url + "/calls", f"guess{n}"))[0] for n in range(FAILURES_MAX + 3)]
            assert answers == [401] * FAILURES_MAX + [429] * 3
            status, problem, headers = await ask("GET", at.url + "/calls", late)
            assert (status, problem["code"]) == (429, "too-many-failures"), "never seen here before"
            assert int(headers["retry-after"]) >= 1
            assert (await ask("GET", at.url + "/calls", good))[0] == 200

    run(main())


def test_failures_are_forgiven_with_time_and_counted_by_address():
    limit = FailureLimit()
    for _ in range(FAILURES_MAX):
        assert limit.wait_s("a", 0.0) == 0
        limit.failed("a", 0.0)
    assert limit.wait_s("a", 0.0) == 3.0
    assert limit.wait_s("b", 0.0) == 0
    assert limit.wait_s("a", 3.0) == 0


def test_bodies_have_a_size_and_errors_a_form(database):
    async def main():
        async with node(database) as at:
            token = await at.token()
            say = f"{at.url}/calls/{SID}/say"
            status, problem, _ = await ask("POST", say, token, b'{"text":"' + b"x" * BODY_BYTES_MAX + b'"}')
            assert (status, problem["code"]) == (413, "too-large")
            for body in (
                b"{",
                b"[" * 60_000,
                b"\xff",
                b"[]",
                b"null",
                b'{"text": 5}',
                b'{"text":"\\ud800"}',
                b'{"text":""}',
            ):
                status, problem, headers = await ask("POST", say, token, body)
                assert (status in (400, 422), headers["content-type"]) == (True, "application/problem+json"), body
            status, problem, _ = await ask("POST", say, token, {"text": "Hello", "tone": "kind"})
            assert problem["fields"] == [{"field": "body.tone", "detail": "Extra inputs are not permitted"}]
            for method, path, expected in (("GET", "/nowhere", 404), ("DELETE", "/calls", 405), ("PUT", "/", 404)):
                status, problem, headers = await ask(method, at.url + path, token)
                assert (status, problem["status"]) == (expected, expected)
                assert headers["content-type"] == "application/problem+json"

    run(main())


def test_the_schema_is_public_and_names_every_route(database):
    async def main():
        async with node(database) as at:
            status, schema, _ = await ask("GET", at.url + "/openapi.json")
            assert status == 200
            assert {"/calls", "/calls/{call_sid}/hang-up", "/approvals/{approval_id}/approve"} <= set(schema["paths"])
            for path, methods in schema["paths"].items():
                for method, operation in methods.items():
                    assert operation["security"], (path, method)
                    assert operation["summary"] or operation["description"], (path, method)
            assert all(scope in json.dumps(schema) for scope in SCOPES)

    run(main())
