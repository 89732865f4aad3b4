"""A person's calls, exported and erased over the API."""

import asyncio
import io
import zipfile
from datetime import UTC, datetime

import pytest
from support.api_node import SID, ask, node

from telephony.store.rows import CallEnd, CallRow

CALLER = "+14155550100"


@pytest.fixture
def database(tmp_path):
    return f"sqlite:///{tmp_path}/store.db"


def test_a_person_is_exported_and_erased_by_who_may(database, tmp_path):
    async def main():
        data_dir = tmp_path / "data"
        async with node(database, data_dir=data_dir) as at:
            folder = data_dir / "calls" / SID
            folder.mkdir(parents=True)
            (folder / "call.wav").write_bytes(b"RIFF")
            now = datetime.now(UTC)
            row = CallRow(call_sid=SID, direction="inbound", from_number=CALLER, to_number="", created_at=now, node="node-1")  # fmt: skip
            await at.store.calls.begin(row)
            await at.store.nodes.heartbeat("node-1")
            exporter, eraser = await at.token("people:export", name="ann"), await at.token("people:erase", name="bob")
            body = {"number": CALLER}

            status, problem, _ = await ask("POST", f"{at.url}/people/erase", eraser, body)
            assert (status, problem["code"]) == (409, "in-progress")
            assert CALLER not in str(problem)
            await at.store.calls.finish(SID, CallEnd(disposition="hung up", ended_at=now, duration_ms=1))

            assert (await ask("POST", f"{at.url}/people/export", eraser, body))[0] == 403
            status, content, headers = await ask("POST", f"{at.url}/people/export", exporter, body, raw=True)
            assert (status, headers["content-type"]) == (200, "application/zip")
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                assert archive.read(f"calls/{SID}/call.wav") == b"RIFF"

            assert (await ask("POST", f"{at.url}/people/erase", exporter, body))[0] == 403
            status, told, _ = await ask("POST", f"{at.url}/people/erase", eraser, body)
            assert (status, told["calls"], told["recordings"]) == (200, 1, 1)
            assert not folder.exists()
            assert (await ask("POST", f"{at.url}/people/export", exporter, body))[0] == 404
            assert (await ask("POST", f"{at.url}/people/erase", eraser, {"number": "0100"}))[0] == 422
            audits = [(entry.who, entry.action, entry.subject) for entry in await at.store.access.audits()]
            masked = "+1 ***-***-0100"
            assert audits[:2] == [("token:bob", "person.erase", masked), ("token:ann", "person.export", masked)]

    asyncio.run(asyncio.wait_for(main(), 60))
