"""A server that tells its callers, seals what it records, and gives it back or erases it: all processes, over HTTP."""

import asyncio
import base64
import io
import json
import zipfile

from support.phone_house import CALLER, phone_house

from realtime_bridge.tape import TapeKey, TapeKeys
from realtime_bridge.tape.sealed import unseal
from telephony.replay.verify import verify_tape
from telephony.testing import HangUp, Pause, WaitForAgent

KEY = base64.b64encode(bytes(range(32))).decode()
KEYS = TapeKeys([TapeKey.from_setting(KEY)])
NOTICE = "We record our calls."
AGENT = """
from realtime_bridge import Agent
from telephony import PhoneAgent

agent = PhoneAgent(Agent(name="Front desk", instructions="Be kind."), recording_notice="We record our calls.")
"""
SCRIPT = {"greeting": "Hello.", "rules": [{"heard": ["nothing"], "say": "I see."}]}


def test_a_caller_is_told_recorded_under_seal_exported_and_erased(tmp_path):
    async def scenario():
        async with phone_house(
            tmp_path, script=SCRIPT, agent=AGENT, RECORD_CALLS="on", RECORDING_KEY=KEY, RECORDING_NOTICE="Not this one."
        ) as house:
            call = await house.ring(WaitForAgent(), WaitForAgent(), HangUp())
            await call.until_status("completed")
            row = await house.stored(call.sid)
            folder = house.data_dir / row.recording

            def unsealed(name):
                return unseal((folder / name).read_bytes(), KEYS)

            await house.until((folder / "call.json").exists, "record")
            record = json.loads(unsealed("call.json"))
            assert [line["text"] for line in record["transcript"]] == [NOTICE, "Hello."]
            assert record["notices"][0]["heard"] is True
            assert all(NOTICE.encode() not in (folder / name).read_bytes() for name in ("call.json", "call.tape"))
            assert (await asyncio.to_thread(verify_tape, folder / "call.tape", KEYS)).differences == []

            status, told = await house.api("POST", "/people/erase", {"number": "+14155550123"})
            assert (status, told["calls"]) == (200, 0)
            status, content = await house.download("POST", "/people/export", {"number": CALLER})
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                assert archive.read(f"calls/{call.sid}/call.wav") == unsealed("call.wav")

            live = await house.ring(WaitForAgent(), WaitForAgent(), Pause(60_000))
            await house.until_api(
                "GET", f"/calls/{live.sid}/live", lambda told: told.get("state", {}).get("recording") == "on"
            )
            assert (await house.api("POST", "/people/erase", {"number": CALLER}))[0] == 409
            status, told = await house.api("POST", f"/calls/{live.sid}/stop-recording", {"delete": True})
            assert (status, told["result"]) == (200, {"recording": "deleted"})
            live.hang_up()
            deleted = await house.stored(live.sid)
            assert deleted.problems[-1] == "not recorded: an operator deleted it"
            assert not list((house.data_dir / "calls" / live.sid).glob("call.[wt]a*"))

            status, told = await house.api("POST", "/people/erase", {"number": CALLER})
            assert (status, told["calls"], told["recordings"]) == (200, 2, 2)
            assert list((house.data_dir / "calls").iterdir()) == []
            assert NOTICE not in "".join(house.server.lines)

    asyncio.run(asyncio.wait_for(scenario(), 120))
