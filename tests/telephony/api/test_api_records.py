"""Recordings, suppressions, and what no request may do: make the server fail."""

import asyncio
import json
import string
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.api_node import SID, ask, node

from realtime_bridge.tape import TapeKey, TapeKeys
from realtime_bridge.tape.sealed import seal
from telephony.records.folder import CallFolder, replace_file
from telephony.records.record import CallRecord
from telephony.store import StoreError
from telephony.store.rows import CallEnd, CallRow

CALLER = "+14155550100"


def run(main, seconds=30):
    asyncio.run(asyncio.wait_for(main, seconds))


@pytest.fixture
def database(tmp_path):
    return f"sqlite:///{tmp_path}/store.db"


async def ended(at, data_dir):
    """A call that is over, with files."""
    row = CallRow(
        call_sid=SID, direction="inbound", from_number=CALLER, to_number="", created_at=datetime.now(UTC), agent="desk",
        status="in-progress",
    )  # fmt: skip
    await at.store.calls.begin(row)
    folder = CallFolder(data_dir, SID)
    folder.create()
    folder.recording.write_bytes(bytes(range(256)) * 10)
    record = CallRecord(
        call_sid=SID, direction="inbound", from_number=CALLER, to_number="", started_at=datetime.now(UTC), agent="desk"
    )
    folder.write_record(record)
    folder.timeline.write_text(f"<svg>{CALLER}</svg>")
    assert (await ask("GET", f"{at.url}/calls/{SID}/recording", await at.token()))[1]["code"] == "in-progress"
    end = CallEnd(stream_sid="MZ1", disposition="hung up", ended_at=datetime.now(UTC), duration_ms=1)
    await at.store.calls.finish(SID, end)


def test_a_recording_is_given_whole_and_in_parts(database, tmp_path):
    async def main():
        async with node(database, data_dir=tmp_path / "data") as at:
            await ended(at, tmp_path / "data")
            url, token = f"{at.url}/calls/{SID}/recording", await at.token("recordings:read")
            status, sound, headers = await ask("GET", url, token, raw=True)
            assert (status, len(sound), headers["content-type"]) == (200, 2560, "audio/wav")
            assert (headers["accept-ranges"], headers["cache-control"]) == ("bytes", "private, no-store")
            status, part, headers = await ask("GET", url, token, headers={"range": "bytes=256-259"}, raw=True)
            assert (status, part, headers["content-range"]) == (206, bytes(range(4)), "bytes 256-259/2560")
            assert (await ask("GET", url, token, headers={"range": "bytes=9999-"}, raw=True))[0] == 416
            for wrong in ("bytes=-", "bytes=0-1,5-6", "lines=1-2"):
                assert (await ask("GET", url, token, headers={"range": wrong}))[0] == 422
            status, nothing, headers = await ask("HEAD", url, token, raw=True)
            assert (status, nothing, headers["content-length"]) == (200, b"", "2560")
            assert (await ask("GET", url, await at.token("calls:read")))[0] == 403

    run(main())


def test_a_sealed_recording_is_opened_on_the_way(database, tmp_path):
    key = TapeKey(bytes(32))
    sound = bytes(range(256)) * 1000  # several blocks

    async def main():
        async with node(database, data_dir=tmp_path / "data", keys=TapeKeys([key])) as at:
            await ended(at, tmp_path / "data")
            folder = CallFolder(tmp_path / "data", SID, key=key)
            folder.recording.write_bytes(seal(sound, key))
            replace_file(folder.timeline, seal(b"<svg/>", key))
            url, token = f"{at.url}/calls/{SID}", await at.token("recordings:read")
            status, whole, headers = await ask("GET", f"{url}/recording", token, raw=True)
            assert (status, whole, headers["content-type"]) == (200, sound, "audio/wav")
            assert headers["content-length"] == str(len(sound))
            for wanted, first, end in (
                ("100000-100099", 100000, 100100),
                ("255990-", 255990, 256000),
                ("-5", 255995, 256000),
            ):
                part = await ask("GET", f"{url}/recording", token, headers={"range": f"bytes={wanted}"}, raw=True)
                assert part[:2] == (206, sound[first:end])
                assert part[2]["content-range"] == f"bytes {first}-{end - 1}/256000"
            assert (await ask("GET", f"{url}/recording", token, headers={"range": "bytes=256000-"}, raw=True))[0] == 416
            assert (await ask("GET", f"{url}/timeline.svg", token, raw=True))[1] == b"<svg/>"
            folder.recording.write_bytes(seal(sound, TapeKey(b"x" * 32)))
            status, problem, _ = await ask("GET", f"{url}/recording", token)
            assert (status, problem["code"]) == (409, "sealed")

    run(main())


def test_each_stream_of_a_call_has_its_own_recording(database, tmp_path):
    async def main():
        async with node(database, data_dir=tmp_path / "data") as at:
            await ended(at, tmp_path / "data")
            folder = CallFolder.of_next_stream(tmp_path / "data", SID)
            folder.create()
            folder.recording.write_bytes(b"second")
            end = CallEnd(
                stream_sid="MZ2",
                disposition="came back",
                ended_at=datetime.now(UTC),
                duration_ms=1,
                recording=folder.place,
            )
            await at.store.calls.finish(SID, end)
            url, token = f"{at.url}/calls/{SID}", await at.token()
            assert (await ask("GET", f"{url}/recording?stream=2", token, raw=True))[:2] == (200, b"second")
            assert (await ask("GET", f"{url}/timeline.svg?stream=2", token))[0] == 404
            assert (await ask("GET", f"{url}/recording?stream=3", token))[0] == 404
            assert len((await ask("GET", f"{url}/recording?stream=1", token, raw=True))[1]) == 2560
            _, call, _ = await ask("GET", url, token)
            assert [(s["stream"], s["disposition"], s["recorded"]) for s in call["streams"]] == [
                (1, "hung up", False), (2, "came back", True),
            ]  # fmt: skip

    run(main())


def test_pictures_and_records_hide_numbers_from_those_who_may_not_see_them(database, tmp_path):
    async def main():
        async with node(database, data_dir=tmp_path / "data") as at:
            await ended(at, tmp_path / "data")
            for name, scopes, shows in (
                ("timeline.svg", (), False), ("call.json", (), False),
                ("timeline.svg", ("numbers:read",), True), ("call.json", ("numbers:read",), True),
            ):  # fmt: skip
                token = await at.token("recordings:read", *scopes)
                status, content, headers = await ask("GET", f"{at.url}/calls/{SID}/{name}", token, raw=True)
                assert (status, CALLER.encode() in content, b"0100" in content) == (200, shows, True)
                assert headers["x-content-type-options"] == "nosniff"
            (tmp_path / "data" / "calls" / SID / "call.json").unlink()
            assert (await ask("GET", f"{at.url}/calls/{SID}/call.json", token))[0] == 404

    run(main())


def test_suppressions_are_added_looked_up_listed_and_removed(database):
    async def main():
        async with node(database) as at:
            token = await at.token("suppressions:read", "suppressions:write", "numbers:read", name="ann")
            url = at.url + "/suppressions"
            for number, expected in (("+14155550100", 201), ("+14155550101", 201), ("+14155550100", 200)):
                assert (await ask("POST", url, token, {"number": number, "reason": "asked"}))[0] == expected
            for wrong in ("4155550100", "+0123456789", "", "+1415555010x"):
                assert (await ask("POST", url, token, {"number": wrong}))[0] == 422
            _, first, _ = await ask("GET", url + "?limit=1", token)
            assert [s["number"] for s in first["suppressions"]] == ["+14155550100"]
            _, second, _ = await ask("GET", f"{url}?limit=5&cursor=%2B14155550100", token)
            assert [(s["number"], s["added_by"]) for s in second["suppressions"]] == [("+14155550101", "token:ann")]
            assert second["next_cursor"] is None
            assert (await ask("GET", url + "/%2B14155550100", token))[1]["suppressed"] is True
            assert (await ask("DELETE", url + "/%2B14155550100", token))[0] == 204
            assert (await ask("DELETE", url + "/%2B14155550100", token))[0] == 404
            assert (await ask("GET", url + "/+14155550100", token))[1]["suppressed"] is False
            actions = [audit.action for audit in await at.store.access.audits(subject="+14155550100")]
            assert actions[-1] == "suppression.add"
            assert "suppression.remove" in actions

    run(main())


def test_without_a_database_requests_are_told_to_come_again(database):
    async def main():
        async with node(database) as at:
            token = await at.token()

            async def away(*_, **__):
                raise StoreError("the secret details of the database", retryable=True)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(at.store.calls, "list", away)
                status, problem, headers = await ask("GET", at.url + "/calls", token)
                assert (status, problem["code"], headers["retry-after"]) == (503, "database-unavailable", "2")
                patch.setattr(at.store.access, "find_token", away)
                assert (await ask("GET", at.url + "/approvals", token))[0] == 503

    run(main())


def test_a_fault_of_ours_is_told_without_its_details_and_logged_with_them(database, caplog):
    async def main():
        async with node(database) as at:

            async def broken(*_, **__):
                raise RuntimeError("a fault of ours")

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(at.store.calls, "list", broken)
                status, problem, headers = await ask("GET", at.url + "/calls", await at.token())
            assert (status, problem["code"]) == (500, "internal-error")
            assert headers["content-type"] == "application/problem+json"
            assert "ours" not in json.dumps(problem)

    run(main())
    assert "a fault of ours" in caplog.text


# ---- whatever comes ---------------------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "+14155550100", "\0", "\ud800", "-1", "9" * 40, "1e999", "NaN", "..", "%00", SID, "waiting"]),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
PATH_SAFE = string.ascii_letters + string.digits + "+-_.~%"


def operations(schema):
    return [
        (method.upper(), path, what) for path, methods in schema["paths"].items() for method, what in methods.items()
    ]


def body_of(schema, what):
    """The names of the fields that this operation takes."""
    content = what.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    reference = content.get("$ref") or next((part["$ref"] for part in content.get("anyOf", ()) if "$ref" in part), None)
    return [] if reference is None else list(schema["components"]["schemas"][reference.split("/")[-1]]["properties"])


def test_no_request_makes_the_server_fail(database, tmp_path):
    """Every operation of the schema, with parameters, bodies and headers that nobody in their right mind would send."""

    def request(at, data):
        method, path, operation = data.draw(st.sampled_from(operations(at.schema)))
        for name in [p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"]:
            value = data.draw(st.one_of(st.text(PATH_SAFE, min_size=1, max_size=70), st.just(SID)))
            path = path.replace("{" + name + "}", value)
        names = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
        query = data.draw(st.dictionaries(st.sampled_from(names), TEXTS)) if names else {}
        odd = [{}, {"last-event-id": "x"}, {"range": "bytes=-"}, {"idempotency-key": "a b"}]
        headers = data.draw(st.sampled_from(odd))
        body = None
        if method == "POST":
            names = body_of(at.schema, operation)
            fields = st.dictionaries(st.sampled_from(names) if names else TEXTS, JSON, max_size=4)
            body = data.draw(st.one_of(fields.map(_encoded), JSON.map(_encoded), st.binary(max_size=30)))
        url = at.url + path + "?" + "&".join(f"{k}={_quoted(v)}" for k, v in query.items())
        return method, url, body, headers

    async def send(token, method, url, body, headers):
        status, content, told = await ask(method, url, token, body, headers=headers, raw=True)
        assert status < 500 or json.loads(content)["code"] == "settings", (method, url, body, content)
        if status >= 400 and content:
            assert told["content-type"] == "application/problem+json"
            assert json.loads(content)["status"] == status

    async def main():
        async with node(database, data_dir=tmp_path / "data") as at:
            await ended(at, tmp_path / "data")
            at.schema = (await ask("GET", at.url + "/openapi.json"))[1]
            token = await at.token("admin")
            loop = asyncio.get_running_loop()

            @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(st.data())
            def bombard(data):
                asyncio.run_coroutine_threadsafe(send(token, *request(at, data)), loop).result(20)

            await asyncio.to_thread(bombard)

    run(main(), 60)


def _encoded(value):
    return json.dumps(value).encode()


def _quoted(text):
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def test_the_audit_is_read_page_by_page_by_those_who_may(database, tmp_path):
    async def main():
        async with node(database, data_dir=tmp_path / "data") as at:
            url, token = f"{at.url}/audit", await at.token("audit:read")
            for number in range(3):
                await at.store.access.audit(f"token:{number}", "suppression.add", CALLER, {"reason": f"of {CALLER}"})
            status, page, _ = await ask("GET", f"{url}?limit=2", token)
            assert (status, [row["who"] for row in page["audit"]]) == (200, ["token:2", "token:1"])
            assert CALLER not in str(page)
            _, rest, _ = await ask("GET", f"{url}?limit=2&cursor={page['next_cursor']}", token)
            assert ([row["who"] for row in rest["audit"]], rest["next_cursor"]) == (["token:0"], None)
            _, mine, _ = await ask("GET", f"{url}?who=token:1", await at.token("audit:read", "numbers:read"))
            assert [(row["who"], row["subject"]) for row in mine["audit"]] == [("token:1", CALLER)]
            assert (await ask("GET", f"{url}?subject=CA1", token))[1]["audit"] == []
            assert (await ask("GET", f"{url}?cursor=x", token))[0] == 422
            assert (await ask("GET", url, await at.token("calls:read")))[0] == 403

    run(main())
