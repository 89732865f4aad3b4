"""A whole call around the session core, in virtual time and from one seed: model, network, phone, caller, program.

The phone plays audio in order and in real time, and knows what it has played. `World.run` lets everybody do as they
like for a while, then lets the line calm down, and `World.complaints` holds every promise of the core that was broken.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any

from support.model_peer import WORD_MS, ModelPeer
from support.simulated_player import SimulatedPlayer

from realtime_bridge.approvals import ApprovalSettings
from realtime_bridge.session import commands, events, inputs
from realtime_bridge.session.journal import Opening
from realtime_bridge.session.machine import SessionMachine
from realtime_bridge.session.specs import AgentSpec, HandoffSpec, SessionSettings, ToolSpec
from realtime_bridge.transport import base
from realtime_bridge.wire import ContentPart, client, server

TOOLS = (
    ToolSpec(name="look_up"),
    ToolSpec(name="refund", checked=True),
    ToolSpec(name="slow", filler="One moment", on_barge_in="speak_later"),
    ToolSpec(name="fragile", on_barge_in="cancel"),
    ToolSpec(name="note", background=True),
)
DESK = AgentSpec(name="desk", instructions="d", tools=TOOLS, handoffs=(HandoffSpec(name="to_billing"),), voice="marin")
BILLING = AgentSpec(name="billing", instructions="b", tools=TOOLS[:2], handoffs=(HandoffSpec(name="to_desk"),))
UNIX_S = 1_800_000_000.0  # the wall clock at the world's time 0
AGENTS = {"to_billing": BILLING, "to_desk": DESK}


class World:
    def __init__(
        self,
        seed: int,
        *,
        guarded: bool = False,
        echoes_metadata: bool = True,
        plays_audio: bool = True,
    ) -> None:
        self.random = Random(seed)
        self.now = 100.0
        self.wild = True  # while the caller, the program and the network act
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._echoes = echoes_metadata
        self._plays_audio = plays_audio
        desk = DESK if not guarded else _guarded(DESK)
        approvals = ApprovalSettings(timeout_s=self.random.choice((None, 4.0, 20.0)), filler="I am asking")
        if approvals.timeout_s is None:
            approvals = ApprovalSettings(timeout_s=30.0)
        settings = SessionSettings(
            approvals=approvals,
            greeting="hello",
            every_chars=30,
            rotate_after_s=self.random.choice((None, 15.0)),
            plays_audio=plays_audio,
        )
        self.opening = Opening(agent=desk, settings=settings)
        self.machine = SessionMachine(desk, settings)
        self.machine.first_update()
        self.inputs: list[tuple[float, Any]] = []
        self.commands: list[list[commands.Command]] = []
        self.emitted: list[events.SessionEvent] = []
        self.complaints: list[str] = []
        self._caller_speaks = False
        self.player = SimulatedPlayer(self._feed, self._later, lambda: self.now, reports=plays_audio)
        self._pending: set[str] = set()  # calls at work
        self._ran: dict[str, int] = {}
        self._approved: set[str] = set()
        self._always: set[tuple[str, str]] = set()
        self._owed: list[tuple[str, int]] = []  # (what must be answered, replies begun before it)
        self._ended = False
        self._attempt = 1
        self._life_s = self.random.choice((None, 20.0))  # of a model session
        self._ends: dict[ModelPeer, float] = {}
        self.peers: list[ModelPeer] = []
        self.peer = self._new_peer()
        self._spare: ModelPeer | None = None

    # -- running --

    def run(self, *, calm_s: float = 120.0) -> World:
        self._feed(base.ModelConnected(attempt=1))
        self._session_created(self.peer)
        self._feed(server.SessionUpdated(session={"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}))
        self._feed(inputs.Started(unix_s=UNIX_S + self.now))
        self._later(self.random.uniform(0.5, 3), self._something)
        # Short calls leave the last thing that happened unobscured by what happens next.
        self._advance(self.now + self.random.choice((3.0, 8.0, 40.0)))
        self.wild = False
        if self.random.random() < 0.15:
            self._hang_up()
        self._advance(self.now + calm_s)
        self._check_end()
        return self

    def _advance(self, until: float) -> None:
        while True:
            at = self._queue[0][0] if self._queue else None
            deadline = self.machine.next_deadline()
            if at is not None and at <= until and (deadline is None or at <= deadline):
                self.now, _, action = heapq.heappop(self._queue)
                action()
            elif deadline is not None and deadline <= until:
                if deadline < self.now - 1e-9:
                    self._complain(f"a deadline lies {self.now - deadline:.3f} s in the past")
                self.now = max(self.now, deadline)
                self._feed(inputs.Tick())
                again = self.machine.next_deadline()
                if again is not None and again <= self.now:
                    self._complain("after a Tick the deadline has not moved")
                    return
            else:
                self.now = until
                return

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now + delay_s, self._count, action))

    def _feed(self, event: Any) -> None:
        self.inputs.append((self.now, event))
        done = self.machine.handle(event, now=self.now)
        self.commands.append(done)
        if self._ended and any(not isinstance(c, commands.Emit) for c in done):
            self._complain(f"after the end: {done}")
        for command in done:
            self._perform(command)

    def _complain(self, what: str) -> None:
        self.complaints.append(f"{self.now - 100:.2f} s: {what}")

    # -- what the shell and the transport do --

    def _perform(self, command: commands.Command) -> None:
        match command:
            case commands.Send():
                self._send(command.event)
            case commands.Emit():
                self.emitted.append(command.event)
                self._owe_results(command.event)
            case commands.CheckCall():
                needs = command.tool == "refund"
                self._answer(command.call_id, 0.02, inputs.CallChecked(call_id=command.call_id, needs_approval=needs))
            case commands.RunTool():
                self._run_tool(command)
            case commands.RunHandoff():
                agent = AGENTS[command.handoff]
                ready = inputs.HandoffReady(call_id=command.call_id, agent=agent, output="ok")
                self._answer(command.call_id, self.random.uniform(0, 0.5), ready)
            case commands.CancelTool():
                self._pending.discard(command.call_id)
            case commands.RunGuardrails():
                tripped = "bad" if self.random.random() < 0.05 else None
                verdict = inputs.GuardrailVerdict(run_id=command.run_id, tripped=tripped)
                self._later(self.random.uniform(0.01, 0.6), lambda: self._feed(verdict))
            case commands.Interrupt():
                if not self._plays_audio:
                    self._complain("a transport that does not play was told to interrupt")
                self._cut_off("program")
                if self.peer.active is not None:
                    self._network(lambda: self.peer.receive(client.ResponseCancel()), up=True)
            case commands.Discard():
                self.player.dropped.add(command.response_id)
            case commands.Release() | commands.Resume():
                pass
            case commands.Rotate():
                self._spare = self._new_peer()
                self._later(self.random.uniform(0.2, 2), self._spare_ready)
            case commands.Switch():
                assert self._spare is not None
                self._owe_what_is_lost()
                self.peer, self._spare = self._spare, None
            case commands.Close():
                self._later(0.05, lambda: self._closed(command.reason))

    def _send(self, event: Any) -> None:
        peer = self.peer
        if isinstance(event, client.ResponseCreate) and self.player.growing is not None:
            self._complain(f"response.create while {self.player.growing} is known to be active")
        self._network(lambda: peer.receive(event), up=True)

    def _network(self, action: Callable[[], None], *, up: bool) -> None:
        """In order, each way, with some delay."""
        delay_s = self.random.choice((0.01, 0.05, 0.3))
        at = max(self.now + delay_s, getattr(self, f"_last_{up}", 0.0))
        setattr(self, f"_last_{up}", at)
        self._later(at - self.now, action)

    def _new_peer(self) -> ModelPeer:
        def say(event: server.KnownServerEvent) -> None:
            self._network(lambda: self._from_model(peer, event), up=False)

        def new_id(kind: str) -> str:
            self._count += 1
            return f"{kind}_{self._count}"

        def tools() -> list[str]:
            agent = AGENTS["to_desk" if self.machine.agent == "desk" else "to_billing"]
            names = [t.name for t in agent.tools] + [h.name for h in agent.handoffs] + ["ghost"]
            return names if self.wild else []

        peer = ModelPeer(self.random, say, self._later, new_id, tools, echoes_metadata=self._echoes)
        self.peers.append(peer)
        if self._life_s is not None:
            self._ends[peer] = self.now + self._life_s
            self._later(self._life_s, lambda: self._expire(peer))
        return peer

    def _expires_at(self, peer: ModelPeer) -> float | None:
        return UNIX_S + self._ends[peer] if peer in self._ends else None

    def _session_created(self, peer: ModelPeer) -> None:
        self._feed(server.SessionCreated(session={"expires_at": self._expires_at(peer)}))

    def _expire(self, peer: ModelPeer) -> None:
        if peer is self.peer and peer.alive and not self._ended:
            self._break_off()

    def _from_model(self, peer: ModelPeer, event: Any) -> None:
        if peer is not self.peer or not peer.alive or self._ended:
            return
        match event:
            case server.ResponseOutputAudioDelta():
                self.player.play(event)
                return
            case server.InputAudioBufferSpeechStarted():
                self._cut_off("speech")
            case server.ResponseCreated():
                self.player.growing = event.response.id
            case server.ResponseDone():
                self.player.response_done(event.response.id)
            case _:
                pass
        self._feed(event)

    def _cut_off(self, by: str) -> None:
        for cut in self.player.cut_off(by):
            if cut.item_id in self.peer.audio_ms:
                truncate = client.ConversationItemTruncate(
                    item_id=cut.item_id, content_index=0, audio_end_ms=cut.heard_ms
                )
                self._network(lambda t=truncate, p=self.peer: p.receive(t), up=True)

    # -- tools --

    def _run_tool(self, command: commands.RunTool) -> None:
        self._ran[command.call_id] = self._ran.get(command.call_id, 0) + 1
        if self._ran[command.call_id] > 1:
            self._complain(f"{command.call_id} ran twice")
        allowed = command.call_id in self._approved or (command.agent, command.tool) in self._always
        if command.tool == "refund" and not allowed:
            self._complain(f"{command.call_id} ran without approval")
        result = inputs.ToolFinished(call_id=command.call_id, output="done")
        self._answer(command.call_id, self.random.choice((0.0, 0.1, 1.0, 5.0, 20.0)), result)

    def _answer(self, call_id: str, delay_s: float, answer: Any) -> None:
        self._pending.add(call_id)

        def give() -> None:
            if call_id in self._pending or self.random.random() < 0.3:  # some come although they were cancelled
                self._pending.discard(call_id)
                self._feed(answer)

        self._later(delay_s, give)

    # -- the caller, the program and the network --

    def _something(self) -> None:
        if not self.wild or self._ended:
            return
        self.random.choice(
            (
                self._caller_talks,
                self._caller_talks,
                self._caller_talks,
                self._decide,
                self._decide,
                self._decide,
                self._message,
                self._interrupt,
                self._lose_model,
                self._edit,
                self._switch,
                self._late_event,
                self._idle_timeout,
            )
        )()
        self._later(self.random.expovariate(0.7), self._something)

    def _caller_talks(self) -> None:
        if self._caller_speaks:
            return
        self._caller_speaks = True
        peer, item_id = self.peer, f"caller_{self._count}"
        peer.speech_started(item_id)

        def stop() -> None:
            self._caller_speaks = False
            if peer is self.peer and peer.alive:
                peer.speech_stopped(item_id, "hello there")

        self._later(self.random.uniform(0.2, 2.5), stop)

    def _decide(self) -> None:
        asked = [e.request for e in self.emitted if isinstance(e, events.ToolApprovalRequested)]
        if not asked:
            return
        request = self.random.choice(asked)
        approved, always = self.random.random() < 0.7, self.random.random() < 0.1
        waiting = not any(
            isinstance(e, events.ToolApprovalResolved) and e.request.call_id == request.call_id for e in self.emitted
        )
        if approved and waiting:
            self._approved.add(request.call_id)
            if always:
                self._always.add((request.agent, request.tool))
        self._feed(inputs.ApprovalGiven(call_id=request.call_id, approved=approved, always=always))

    def _message(self) -> None:
        part = ContentPart(type="input_text", text=f"message {self._count}")
        respond = self.random.random() < 0.7
        if respond:
            self._owe(part.text or "")
        self._feed(inputs.MessageSent(content=(part,), respond=respond))

    def _owe_results(self, event: events.SessionEvent) -> None:
        """The results of this tool are always spoken of, sooner or later."""
        if isinstance(event, events.AgentToolEnd) and (event.tool, event.outcome) == ("slow", "ok"):
            self._owe(f"the result of {event.call_id}")

    def _owe(self, what: str) -> None:
        self._owed.append((what, sum(peer.begins for peer in self.peers)))

    def _idle_timeout(self) -> None:
        if self.peer.alive:
            self.peer.idle_timeout()

    def _interrupt(self) -> None:
        self._feed(inputs.InterruptWanted())

    def _edit(self) -> None:
        history = list(self.machine.history)
        if history:
            history.pop(self.random.randrange(len(history)))
            self._feed(inputs.HistoryEdited(history=tuple(history)))

    def _switch(self) -> None:
        self._feed(inputs.AgentSwitched(agent=self.random.choice((BILLING, self.opening.agent))))

    @property
    def _session_knows_of_a_turn(self) -> bool:
        """The caller has spoken, the model has said so, and no reply has begun since."""
        turns = (server.InputAudioBufferSpeechStopped, server.ResponseCreated, base.ModelLost, inputs.AgentSwitched)
        last = next((e for at, e in reversed(self.inputs) if isinstance(e, turns) and at > self.now - 2.0), None)
        return isinstance(last, server.InputAudioBufferSpeechStopped)

    def _late_event(self) -> None:
        """Something that was delivered before comes again."""
        old = [e for _, e in self.inputs if isinstance(e, server.ResponseOutputItemDone | server.ConversationItemDone)]
        if old:
            self._feed(self.random.choice(old))

    def _lose_model(self) -> None:
        if not self.peer.alive or self.random.random() < 0.5:
            return
        self._break_off()

    def _owe_what_is_lost(self) -> None:
        if self._session_knows_of_a_turn:
            self._owe("the caller's turn, whose answer was lost")
        if self.player.growing is not None and self.player.growing not in self.player.dropped:
            self._owe(f"{self.player.growing}, lost half-way")
        self.player.growing = None

    def _break_off(self) -> None:
        self.peer.alive = False
        self._owe_what_is_lost()
        if self._spare is not None:
            self._spare.alive = False
            self._spare = None
        self._feed(base.ModelLost(message="gone", code=1006))

        def back() -> None:
            self._attempt += 1
            self.peer = self._new_peer()
            self._feed(base.ModelConnected(attempt=self._attempt))
            self._session_created(self.peer)

        self._later(self.random.uniform(0.3, 4), back)

    def _spare_ready(self) -> None:
        if self._spare is not None and self.peer.alive:
            self._feed(base.SpareReady(expires_at=self._expires_at(self._spare)))

    def _hang_up(self) -> None:
        self._cut_off("end")
        self._closed("hung up")

    def _closed(self, reason: str) -> None:
        if not self._ended:
            self._feed(base.TransportClosed(reason=reason))
            self._ended = self.player.over = True

    # -- the end --

    def _check_end(self) -> None:
        for peer in self.peers:
            self.complaints += peer.breaches
            self.complaints += [f"{c} was answered {n} times" for c, n in peer.answers.items() if n > 1]
        starts = [e.call_id for e in self.emitted if isinstance(e, events.AgentToolStart)]
        if len(starts) != len(set(starts)):
            self._complain("a tool was started twice")
        ended = [e for e in self.emitted if isinstance(e, events.SessionEnd)]
        if self._ended:
            if len(ended) != 1:
                self._complain(f"{len(ended)} session_end events")
            return
        self._check_history()
        if not self.machine.quiet:
            self._complain("the line never became quiet again")
        for item in self.machine.history:
            if item.type == "function_call" and item.output is None and item.status == "completed":
                self._complain(f"call {item.call_id} of {item.name} was never answered")
        for what, begins in self._owed:
            if sum(peer.begins for peer in self.peers) <= begins:
                self._complain(f"no reply to {what}")
        if self.peer.turns_to_answer:
            self._complain("the caller's last turn was never answered")

    def _check_history(self) -> None:
        """The history holds what the phone played: a word for every word's time that was heard."""
        for item in self.machine.history:
            if item.role != "assistant" or item.item_id not in self.player.heard:
                continue
            heard_ms = self.player.heard[item.item_id]
            words = len(item.text.split())
            if abs(words - heard_ms / WORD_MS) > 1.5:
                self._complain(f"{item.item_id}: {words} words in the history, {heard_ms / WORD_MS:.1f} heard")
            if item.heard_ms != heard_ms:
                self._complain(f"{item.item_id}: heard_ms {item.heard_ms}, the phone played {heard_ms}")


def _guarded(agent: AgentSpec) -> AgentSpec:
    return AgentSpec(
        name=agent.name,
        instructions=agent.instructions,
        tools=agent.tools,
        handoffs=agent.handoffs,
        voice=agent.voice,
        guarded=True,
    )
