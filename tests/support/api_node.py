"""A node with the API on a real port: a store, live calls, commands and the desk for approvals; calls are scripted.

Several nodes on one database are several processes as far as the store and the bus can tell.
"""

import asyncio
import contextlib
import json
import urllib.error
import urllib.request
from datetime import UTC, datetime

import uvicorn
from fastapi import FastAPI

from realtime_bridge import Agent, RealtimeSession, tool
from realtime_bridge.approvals import ApprovalSettings
from realtime_bridge.embedded import EmbeddedServer
from realtime_bridge.errors import MisuseError
from realtime_bridge.tape import TapeKeys
from realtime_bridge.transport.scripted import ScriptedTransport
from realtime_bridge.wire import Response, server
from telephony.api import Services, api_app
from telephony.api.access import Door
from telephony.call_details import CallDetails
from telephony.calls.approvals import ApprovalDesk
from telephony.calls.commands import CallCommands
from telephony.calls.context import PhoneContext
from telephony.calls.live import CallEnding, LiveCall, LiveCalls
from telephony.store import Store
from telephony.store.rows import CallRow

SID, OTHER_SID = "CA" + "1" * 32, "CA" + "2" * 32
ALL = ("calls:read", "calls:write", "approvals:read", "approvals:decide", "recordings:read")


class Recording:
    """Notes how it is steered, in place of a call's recording."""

    state = "on"

    def __init__(self, done):
        self._done = done

    def pause(self, seconds):
        self._done.append(("pause_recording", seconds))
        return "paused"

    def resume(self):
        self._done.append(("resume_recording",))
        return "on"

    def stop(self, *, delete, because):
        self._done.append(("stop_recording", delete, because))
        return "deleted" if delete else "stopped"


class Steering:
    """Notes how it is steered, in place of a phone line's. `stuck` makes it take its time."""

    def __init__(self):
        self.done = []
        self.recording = Recording(self.done)
        self.stuck = None

    async def _note(self, *what):
        self.done.append(what)
        if self.stuck is not None:
            await self.stuck.wait()

    async def hang_up(self, reason="", *, after_goodbye=True):
        await self._note("hang_up", reason, after_goodbye)

    async def transfer(self, to, *, warm=False, summary=None):
        if to == "+1000":
            raise MisuseError("+1000 is no number to transfer to")
        await self._note("transfer", to, warm, summary)
        return {"connected": True, "to": to}

    async def press(self, digits):
        await self._note("press", digits)

    async def hold(self):
        await self._note("hold")

    async def resume(self):
        await self._note("resume")

    async def mute(self, muted):
        await self._note("mute", muted)

    async def mute_agent(self, muted):
        await self._note("mute_agent", muted)

    async def say(self, text):
        if text == "crash":
            raise RuntimeError("a fault of ours")
        await self._note("say", text)


class Node:
    """`api` answers at `url`; `call(...)` begins a live call here."""

    def __init__(self, store, desk, live, commands, url):
        self.store, self.desk, self.live, self.commands, self.url = store, desk, live, commands, url

    async def token(self, *scopes, name="test", expires_at=None):
        _, secret = await self.store.access.create_token(name, scopes or ALL, expires_at)
        return secret

    @contextlib.asynccontextmanager
    async def call(self, agent=None, call_sid=SID, *, timeout_s=60.0):
        """A live call with an agent that may refund, once somebody approves."""
        ran = []
        transport = ScriptedTransport()
        session = RealtimeSession(
            agent or refunding(ran), transport=transport, approvals=ApprovalSettings(timeout_s=timeout_s)
        )
        steering = Steering()
        details = CallDetails(call_sid=call_sid, caller="+14155550100", called="+14155550101", agent="desk")
        call = LiveCall(
            details=details,
            session=session,
            transport=transport,
            control=steering,
            context=PhoneContext(details=details, control=steering),
        )
        call.started_at = datetime.now(UTC)
        row = CallRow(
            call_sid=call_sid, direction="inbound", from_number=details.caller, to_number=details.called,
            created_at=datetime.now(UTC), agent="desk", node=self.store.node, status="in-progress",
        )  # fmt: skip
        with contextlib.suppress(Exception):  # tests of a broken store
            await self.store.calls.begin(row)
        self.live.began(call)
        scripted = ScriptedCall(call, transport, ran)
        async with session:
            yield scripted
        self.live.over(call_sid, call, in_order=True)
        self.live.ended(details, CallEnding(reason="test", in_order=True))


class ScriptedCall:
    def __init__(self, call, transport, ran):
        self.call, self.transport, self.ran = call, transport, ran
        self.events = []
        self._news = asyncio.Event()
        call.session.on(None, self._told)

    def _told(self, event):
        self.events.append(event)
        self._news.set()

    def asks(self, arguments='{"amount":5}', *, call_id="call_1", name="refund"):
        """The model calls the tool."""
        response_id = self.transport.begin()
        self.transport.call(response_id, name, arguments, call_id=call_id)
        done = Response(id=response_id, status="completed", conversation_id="c")
        self.transport.feed(server.ResponseDone(response=done))

    async def told(self, kind, count=1):
        """The `count`th event of this type, as soon as it is there."""
        while len(found := [event for event in self.events if event.type == kind]) < count:
            self._news.clear()
            await self._news.wait()
        return found[count - 1]


def refunding(ran, **settings):
    @tool(needs_approval=True, **settings)
    async def refund(amount: float) -> str:
        ran.append(amount)
        return "refunded"

    return Agent(name="desk", instructions="Be kind.", tools=[refund])


@contextlib.asynccontextmanager
async def node(
    url,
    name="node-1",
    *,
    data_dir=None,
    dialler=None,
    announcer=None,
    keys=None,
    answer_s_max=30.0,
    started_after_s=20.0,
    **desk,
):
    """One process's worth of the API. What takes long, or is not answered, may take as long as a busy machine needs."""
    async with Store.open(url, node=name) as store:
        live = LiveCalls()
        commands = CallCommands(store, live, answer_s_max=answer_s_max, started_after_s=started_after_s)
        approvals = ApprovalDesk(store, announcer=announcer, **{"look_again_s": 0.2, **desk})
        live.add_listener(approvals)
        commands.start()
        approvals.start()
        await store.nodes.heartbeat(name)
        services = Services(store=store, commands=commands, dialler=dialler, data_dir=data_dir, keys=keys or TapeKeys())
        try:
            async with api_at(services) as where:
                yield Node(store, approvals, live, commands, where)
        finally:
            await commands.close()
            await approvals.close()


_apis = []  # made before and free again: making one takes longer than most tests


@contextlib.asynccontextmanager
async def api_at(services):
    """The URL of an API on these services."""
    api = _apis.pop() if _apis else api_app(lambda: None)
    api.state.door = Door(lambda: services)
    app = FastAPI(openapi_url=None)
    app.mount("/api/v1", api)
    async with listening(app) as where:
        yield where + "/api/v1"
    _apis.append(api)


@contextlib.asynccontextmanager
async def listening(app):
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    running = EmbeddedServer(config)
    with config.bind_socket() as listener:
        task = asyncio.create_task(running.serve(sockets=[listener]))
        await running.ready.wait()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            running.stop.set()
            await task


async def eventually(look):
    """What `look()` gives, as soon as it is something."""
    while True:
        if found := await look():
            return found
        await asyncio.sleep(0.01)


async def ask(method, url, token=None, body=None, *, headers=None, raw=False):
    """(status, answer as JSON, headers)"""

    def send():
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content-type": "application/json"} if data is not None else {}
        if token is not None:
            given["authorization"] = f"Bearer {token}"
        request = urllib.request.Request(url, data, {**given, **(headers or {})}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.read(), e.headers

    status, content, told = await asyncio.to_thread(send)
    if raw:
        return status, content, told
    return status, json.loads(content) if content else None, told
