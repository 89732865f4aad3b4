"""One conversation over several model sessions: lost sockets, and the change to a fresh session before the old one ends.

A fresh session is given the configuration and the conversation as it was heard, then the caller's audio flows to it.
Nothing is greeted, asked or run again: what the session owes (a reply that was lost, an answer nobody spoke of) it asks
for once, with the note below; calls and approvals that wait, wait on, and are answered to the new session.
"""

from __future__ import annotations

from math import inf
from typing import Any

from realtime_bridge.session.commands import Close, Resume, Rotate, Send, Switch
from realtime_bridge.session.core import Core
from realtime_bridge.session.events import Reconnected, Reconnecting
from realtime_bridge.session.lifetime import Lifetime, lifetime
from realtime_bridge.session.tool_desk import ToolDesk
from realtime_bridge.wire import ContentPart, Item, client
from realtime_bridge.wire.session import expires_at

_NOTE = (
    "The connection was lost for a moment. The conversation goes on where it stopped: do not greet again, do not repeat "
    "what the caller has heard, and do not call a tool again whose result is there or still to come."
)
_LOST_S_MAX = 120.0
_NOTE_MISSED = " What the caller said last was lost: ask them, in a few words, to say it again."


class Recovery:
    def __init__(self, core: Core, tools: ToolDesk) -> None:
        self._core = core
        self._tools = tools
        self._owed = False  # a reply was lost, or a turn of the caller's that had none yet
        self._missed = False  # what the caller said last never came as words
        self._attempt = 1
        self._lost_until: float | None = None  # a transport that tries for longer has forgotten us
        self._unix_offset_s: float | None = None  # wall clock less the machine's
        self._born = 0.0  # of the model session
        self._expires_at: float | None = None  # as the model has said, Unix seconds
        self._life = Lifetime()
        self._spare: tuple[float, float | None] | None = None  # a fresh session waits: born when, `expires_at`
        self._rotate_at = inf

    def started(self, unix_s: float | None) -> None:
        self._unix_offset_s = None if unix_s is None else unix_s - self._core.now
        self._begin_life(self._core.now, self._expires_at)

    def told(self, session: dict[str, Any]) -> None:
        """The model has said what its session is; when it ends, too."""
        ends = expires_at(session)
        if ends is None or ends == self._expires_at:
            return
        if self._core.connected:
            self._begin_life(self._born, ends)
        else:
            self._expires_at = ends  # the session has not begun

    def lost(self, reason: str) -> None:
        """The model's socket is gone; the transport is trying to get another."""
        core = self._core
        if not core.connected:
            return
        core.connected = False
        self._lost_until = core.now + _LOST_S_MAX
        self._spare = None
        self._rotate_at = inf
        self._leave()
        core.emit(Reconnecting(reason=reason))

    def connected(self, attempt: int) -> None:
        """A socket to a fresh model session is open, in place of one that was lost."""
        self._attempt = attempt
        if self._lost_until is not None:
            self._lost_until = None
            self._begin_life(self._core.now, None)  # its own words come next
            self._tell_everything()

    def spare_ready(self, ends: float | None) -> None:
        self._spare = (self._core.now, ends)
        self._rotate_at = inf

    def retell(self, item_id: str) -> None:
        """A restored item was cut after all: its audio still played when the session changed. "Restored items must never
        be truncated": it is told anew, as heard."""
        conversation = self._core.conversation
        if conversation.get(item_id) is None:
            return
        items, previous = conversation.retell(item_id)
        self._core.send(client.ConversationItemDelete(event_id=self._core.ids.new("restore"), item_id=item_id))
        for item in items:
            event_id = self._core.ids.new("restore")
            self._core.send(client.ConversationItemCreate(event_id=event_id, item=item, previous_item_id=previous))

    def step(self) -> None:
        """At the end of every input: change to a fresh session when it is time."""
        core = self._core
        if self._lost_until is not None and core.now >= self._lost_until:
            core.problem("the model could not be reached again", "transport", fatal=True)
            core.do(Close(reason="the model is gone", error="the model could not be reached again"))
            return
        if self._spare is not None and core.connected and self._may_switch:
            self._switch(self._spare)
        if core.now >= self._rotate_at:
            self._rotate_at = core.now + self._life.retry_s
            core.do(Rotate())

    def next_deadline(self) -> float | None:
        if self._lost_until is not None:
            return self._lost_until
        moments = [self._rotate_at]
        if self._spare is not None:
            moments += [at for at in (self._life.playing_from, self._life.last_at) if at > self._core.now]
        earliest = min(moments)
        return earliest if earliest < inf else None

    @property
    def _may_switch(self) -> bool:
        core, life = self._core, self._life
        if core.now >= life.last_at:
            return True
        if self._tools.hosted_call_waits:
            return False  # the next session would want it anew, and somebody be asked twice
        nobody_speaks = core.responses.settled and not core.line.turn_is_callers(core.now)
        return core.quiet or (core.now >= life.playing_from and nobody_speaks)

    def _switch(self, spare: tuple[float, float | None]) -> None:
        core = self._core
        self._spare = None
        core.emit(Reconnecting(reason="the model session is about to end", planned=True))
        core.do(Switch())
        self._leave()
        self._attempt += 1
        self._begin_life(*spare)
        self._tell_everything()

    def _begin_life(self, born: float, ends: float | None) -> None:
        """A model session was born; `ends`: as it said, Unix seconds."""
        self._born, self._expires_at = born, ends
        known = None if ends is None or self._unix_offset_s is None else ends - self._unix_offset_s
        self._life = lifetime(born, known, self._core.settings.rotate_after_s)
        if self._spare is None:
            self._rotate_at = self._life.prepare_at

    def _leave(self) -> None:
        """Nothing more comes of the old session: what was under way in it is over, and what it owed is owed."""
        core = self._core
        callers_turn = core.line.turn_is_callers(core.now)
        self._missed = callers_turn and not core.conversation.ends_with_callers_words()
        self._owed = callers_turn or (core.responses.active is not None and not core.is_dropped(core.responses.active))
        core.responses.lost()
        core.line.reset()
        core.emit(*core.conversation.lost())
        self._tools.model_lost()

    def _tell_everything(self) -> None:
        core = self._core
        core.connected = True
        core.config.fresh_session()
        session, _ = core.config.update(core.agent)
        core.do(Send(event=client.SessionUpdate(event_id=core.ids.new("update"), session=session)))
        items = core.conversation.restored()
        note = Item(
            type="message",
            id=core.ids.new("item"),
            role="system",
            content=(ContentPart(type="input_text", text=_NOTE + (_NOTE_MISSED if self._missed else "")),),
        )
        self._missed = False
        if items:
            core.conversation.hide(note.id or "")
            items.append(note)
        for item in items:
            core.send(client.ConversationItemCreate(event_id=core.ids.new("restore"), item=item))
        core.do(Resume())
        if self._owed:
            self._owed = False
            core.responses.want()
        core.emit(Reconnected(attempt=self._attempt, items=len(items)))
