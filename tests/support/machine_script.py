"""One session machine under a test's hand: the model's events come from a ScriptedTransport, time from the test."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from realtime_bridge.session import commands, inputs
from realtime_bridge.session.machine import SessionMachine
from realtime_bridge.session.specs import AgentSpec, HandoffSpec, SessionSettings, ToolSpec
from realtime_bridge.transport import base
from realtime_bridge.transport.base import ItemCut
from realtime_bridge.transport.scripted import ScriptedTransport
from realtime_bridge.wire import ContentPart, Item, Response, client, server

TOOLS = (
    ToolSpec(name="look_up"),
    ToolSpec(name="refund", checked=True),
    ToolSpec(name="note", background=True),
    ToolSpec(name="later", on_barge_in="speak_later"),
    ToolSpec(name="fragile", on_barge_in="cancel"),
    ToolSpec(name="slow", filler="One moment, please."),
)
DESK = AgentSpec(
    name="desk", tools=TOOLS, handoffs=(HandoffSpec(name="to_billing"), HandoffSpec(name="to_sales")), voice="marin"
)
BILLING = AgentSpec(name="billing", tools=(ToolSpec(name="invoice"),), voice="cedar")


class MachineScript:
    """`model` speaks, `do` hands in anything else; what came of it lies in `sent`, `told` and `asked`.

    The model takes every item and update at once (ScriptedTransport), and answers no response.create by itself.
    """

    def __init__(self, agent: AgentSpec, *, start: bool = True, **settings: Any) -> None:
        self.now = 10.0
        self.machine = SessionMachine(agent, SessionSettings(**settings))
        self.first_update = self.machine.first_update()
        self.commands: list[commands.Command] = []
        self._waiting: deque[Any] = deque()
        self._busy = False
        self.model = ScriptedTransport(plays_audio=settings.get("plays_audio", True))
        asyncio.run(self.model.connect(self.do, session=self.first_update))
        if start:
            self.do(inputs.Started())

    def do(self, event: Any) -> None:
        """Hand something in; what the model says to the answer comes after it."""
        self._waiting.append(event)
        if self._busy:
            return
        self._busy = True
        while self._waiting:
            for command in self.machine.handle(self._waiting.popleft(), now=self.now):
                self.commands.append(command)
                if isinstance(command, commands.Send):
                    self.model.send(command.event)
        self._busy = False

    def wait(self, seconds: float) -> None:
        """Let time pass, deadline by deadline."""
        until = self.now + seconds
        while (deadline := self.machine.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.do(inputs.Tick())
        self.now = until
        self.do(inputs.Tick())

    def say(self, text: str, *, respond: bool = True) -> None:
        """`send_message`."""
        self.do(inputs.MessageSent(content=(ContentPart(type="input_text", text=text),), respond=respond))

    def sent(self, kind: type[Any]) -> list[Any]:
        """Client events of one type, so far."""
        return [event for event in self.model.sent if isinstance(event, kind)]

    def told(self, kind: type[Any]) -> list[Any]:
        """Session events of one type, so far."""
        return [c.event for c in self.commands if isinstance(c, commands.Emit) and isinstance(c.event, kind)]

    def asked(self, kind: type[Any]) -> list[Any]:
        """Commands of one type, so far."""
        return [command for command in self.commands if isinstance(command, kind)]

    def outputs(self) -> dict[str, str]:
        """What the model was told of its calls, by call id."""
        items = [e.item for e in self.model.sent if getattr(e, "item", None) is not None]
        return {item.call_id: item.output for item in items if item.type == "function_call_output"}

    def texts(self) -> list[tuple[str, str]]:
        """(role, words) of the history's messages."""
        return [(item.role or "", item.text) for item in self.machine.history if item.type == "message"]


def script(agent=DESK, **settings) -> MachineScript:
    return MachineScript(agent, **settings)


def called(s: MachineScript, name: str, arguments: str = "{}", call_id: str = "call_x") -> str:
    """The model makes one call, in a response of its own that then ends."""
    response_id = s.model.begin()
    s.model.call(response_id, name, arguments, call_id=call_id)
    s.model.feed(server.ResponseDone(response=Response(id=response_id, status="completed", conversation_id="c")))
    return response_id


def finish(s: MachineScript, call_id: str = "call_x", output: str = "done", **fields) -> None:
    s.do(inputs.ToolFinished(call_id=call_id, output=output, **fields))


def barge_in(s: MachineScript, item_id: str = "item_1", heard_ms: int = 100, audio_ms: int = 1000) -> None:
    """The caller speaks while the agent does; a phone reports what was cut before the model's event."""
    cut = ItemCut(response_id="r", item_id=item_id, content_index=0, heard_ms=heard_ms, audio_ms=audio_ms)
    s.model.feed(
        base.PlaybackInterrupted(cuts=(cut,), by="speech"),
        server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"),
    )


def creates(s: MachineScript) -> list[client.ResponseCreate]:
    return s.sent(client.ResponseCreate)


def growing_reply(s: MachineScript, *pieces: str) -> tuple[str, str]:
    response_id = s.model.begin()
    item = Item(type="message", id="a", role="assistant", status="in_progress", content=())
    s.model.feed(server.ResponseOutputItemAdded(item=item, response_id=response_id, output_index=0))
    part = {"response_id": response_id, "item_id": "a", "content_index": 0}
    for n, piece in enumerate(pieces, 1):
        s.model.feed(
            server.ResponseOutputAudioTranscriptDelta(delta=piece, output_index=0, **part),
            base.AudioReceived(audio_ms=1000 * n, **part),
        )
    return response_id, "a"


def waiting_refund(**settings) -> MachineScript:
    s = script(**settings)
    called(s, "refund", '{"amount": 5}')
    (check,) = s.asked(commands.CheckCall)
    assert check.arguments == '{"amount": 5}'
    s.do(inputs.CallChecked(call_id="call_x", needs_approval=True))
    return s
