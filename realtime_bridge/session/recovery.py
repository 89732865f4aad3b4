"""One conversation over several model sessions: lost sockets, and the change to a fresh session before the old one ends.

A fresh session is given the configuration and the conversation as it was heard, then the caller's audio flows to it.
Nothing is greeted, asked or run again: what the session owes (a reply that was lost, an answer nobody spoke of) it asks
for once, with the note below; calls and approvals that wait, wait on, and are answered to the new session.
"""

from __future__ import annotations

from realtime_bridge.session.commands import Close, Resume, Rotate, Send, Switch
from realtime_bridge.session.core import Core
from realtime_bridge.session.events import Reconnected, Reconnecting
from realtime_bridge.wire import ContentPart, Item, client

_NOTE = (
    "The connection was lost for a moment. The conversation goes on where it stopped: do not greet again, do not repeat "
    "what the caller has heard, and do not call a tool again whose result is there or still to come."
)
_LOST_S_MAX = 120.0
_NOTE_MISSED = " What the caller said last was lost: ask them, in a few words, to say it again."
_SPARE_S_MAX = 60.0  # for a fresh session to be ready, before another is asked for


class Recovery:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._owed = False  # a reply was lost, or a turn of the caller's that had none yet
        self._missed = False  # what the caller said last never came as words
        self._spare = False
        self._attempt = 1
        self._rotate_at: float | None = None
        self._lost_until: float | None = None  # a transport that tries for longer has forgotten us

    def started(self) -> None:
        self._plan_rotation()

    def lost(self, reason: str) -> None:
        """The model's socket is gone; the transport is trying to get another."""
        core = self._core
        if not core.connected:
            return
        self._missed = core.line.turn_is_callers(core.now) and not core.conversation.ends_with_callers_words()
        self._owed = core.line.turn_is_callers(core.now) or (
            core.responses.active is not None and not core.is_dropped(core.responses.active)
        )
        core.connected = False
        self._lost_until = core.now + _LOST_S_MAX
        self._spare = False
        self._rotate_at = None
        core.responses.lost()
        core.line.reset()
        core.emit(*core.conversation.lost())
        core.emit(Reconnecting(reason=reason))

    def connected(self, attempt: int) -> None:
        """A socket to a fresh model session is open, in place of one that was lost."""
        self._attempt = attempt
        if self._lost_until is not None:
            self._lost_until = None
            self._tell_everything()

    def spare_ready(self) -> None:
        self._spare = True
        self._rotate_at = None

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
        """At the end of every input: change to a fresh session when it is time, and the line is quiet."""
        core = self._core
        if self._lost_until is not None and core.now >= self._lost_until:
            core.problem("the model could not be reached again", "transport", fatal=True)
            core.do(Close(reason="the model is gone", error="the model could not be reached again"))
            return
        if self._rotate_at is not None and core.now >= self._rotate_at and not self._spare:
            self._rotate_at = core.now + _SPARE_S_MAX
            core.do(Rotate())
        if not (self._spare and core.connected and core.quiet):
            return
        self._spare = False
        core.emit(Reconnecting(reason="the model session is about to end", planned=True))
        core.do(Switch())
        core.responses.lost()
        core.line.reset()
        self._attempt += 1
        self._tell_everything()

    def next_deadline(self) -> float | None:
        return self._rotate_at if self._lost_until is None else self._lost_until

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
        self._plan_rotation()
        core.emit(Reconnected(attempt=self._attempt, items=len(items)))

    def _plan_rotation(self) -> None:
        after = self._core.settings.rotate_after_s
        self._rotate_at = None if after is None else self._core.now + after
