"""The response sequencer: one response at a time, none asked for twice, none lost.

"One active response at a time: conversation_already_has_active_response otherwise." Everything that wants the model to
speak asks here. Automatic asks (a tool's result, a guardrail's feedback) mean "there is something new to answer": they
merge, and a response that somebody else caused, after the new items were in the conversation, answers them too. Explicit
asks (the program's) are never merged. Each request carries an event id and metadata that `response.created` brings back,
so a response that was cancelled before it began (an orphan) is known when it comes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from realtime_bridge.session.ids import Ids
from realtime_bridge.wire import Response, client

METADATA_KEY = "rb_request"
QUEUE_MAX = 64
_ANSWER_S_MAX = 15.0  # from response.create to response.created or an error
_SILENCE_S_MAX = 90.0  # between two events of one response
_BUSY_S_MAX = 10.0  # for a response we know nothing of but that it is active
_TRIES_MAX = 3
_ISSUED_MAX = 256

Refusal: TypeAlias = Literal["retried", "gave_up", "not_ours"]


@dataclass(slots=True)
class Ask:
    """One wish for a response. `items`: what an automatic one wants answered. `when_idle`: only on a quiet line."""

    token: str
    params: dict[str, Any] | None = None
    explicit: bool = False
    when_idle: bool = False
    items: set[str] = field(default_factory=set)
    about: str | None = None  # a tool call that a filler is about
    tries: int = 0

    @property
    def aside(self) -> bool:
        """Out of band: beside the conversation, and beside its active response."""
        return self.params is not None and self.params.get("conversation") == "none"


@dataclass(frozen=True, slots=True)
class Began:
    """What to make of a `response.created`. `ask`: ours, if it is. An orphan is to be cancelled and not heard."""

    response_id: str
    ask: Ask | None
    orphan: bool = False


class Responses:
    """Feed it what is known (`began`, `ended`, `refused`, …); `pump` gives what may be sent now."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._queue: deque[Ask] = deque()
        self._sent: Ask | None = None
        self._sent_until = 0.0
        self._shadow: str | None = None  # a response that began while ours was unanswered
        self._issued: dict[str, Ask] = {}
        self._orphans: set[str] = set()  # tokens whose response is not wanted any more
        self._active: str | None = None
        self._active_until = 0.0
        self._cancelling = False
        self._busy_until: float | None = None
        self._aside: set[str] = set()
        self._known_items: set[str] = set()

    @property
    def active(self) -> str | None:
        """The response in progress in the conversation."""
        return self._active

    @property
    def idle(self) -> bool:
        """Nothing is said, and nobody wants anything said."""
        return self._active is None and self._sent is None and not self._queue

    @property
    def settled(self) -> bool:
        """Nothing is being said, and nothing that was asked for is about to be."""
        return self._active is None and self._sent is None and self._busy_until is None

    @property
    def waiting(self) -> bool:
        """Somebody wants a response that has not begun."""
        return self._sent is not None or bool(self._queue)

    @property
    def queued(self) -> bool:
        """Something waits that `pump` has not given out."""
        return bool(self._queue)

    # -- asking --

    def want(self, *, items: tuple[str, ...] = (), when_idle: bool = False) -> None:
        """An automatic response, which answers `items` once the model has them. Merges with one that waits already."""
        for ask in self._queue:
            if not ask.explicit:
                ask.items.update(items)
                ask.when_idle = ask.when_idle and when_idle
                return
        self._queue.append(Ask(self._ids.new("response"), items=set(items), when_idle=when_idle))

    def demand(
        self, params: dict[str, Any] | None = None, *, when_idle: bool = False, about: str | None = None
    ) -> bool:
        """A response of its own. False when too many wait already. `about`: see `withdraw`."""
        if len(self._queue) >= QUEUE_MAX:
            return False
        self._queue.append(Ask(self._ids.new("response"), params, explicit=True, when_idle=when_idle, about=about))
        return True

    def withdraw(self, about: str) -> None:
        """What was wanted about this is not wanted any more, unless it has been sent."""
        for ask in [ask for ask in self._queue if ask.about == about]:
            self._queue.remove(ask)

    def item_known(self, item_id: str) -> None:
        """The model has this item in its conversation."""
        if any(item_id in ask.items for ask in self._queue):
            self._known_items.add(item_id)

    def pump(self, now: float, *, may_speak: bool, quiet: bool) -> list[client.ResponseCreate]:
        """What may be sent now. `may_speak`: the turn is not the caller's; `quiet`: nothing is being heard either."""
        events = []
        for ask in [ask for ask in self._queue if ask.aside]:
            self._queue.remove(ask)
            events.append(self._issue(ask))
        if self._active is not None or self._sent is not None or self._busy_until is not None or not may_speak:
            return events
        ask_now = next((ask for ask in self._queue if quiet or not ask.when_idle), None)
        if ask_now is not None:
            self._queue.remove(ask_now)
            self._sent, self._sent_until, self._shadow = ask_now, now + _ANSWER_S_MAX, None
            events.append(self._issue(ask_now))
        return events

    def put_back(self, ask: Ask) -> None:
        """Ours began at a bad moment and is being cancelled: it is asked for again, first of all."""
        self._queue.appendleft(replace(ask, token=self._ids.new("response")))
        self._cancelling = True

    # -- what happens --

    def began(self, response: Response, now: float) -> Began:
        """`response.created`."""
        response_id = response.id or ""
        token = (response.metadata or {}).get(METADATA_KEY, "")
        ask = self._issued.pop(token, None)
        if ask is not None and ask.aside:
            self._aside.add(response_id)
            return Began(response_id, ask)
        if self._sent is not None:
            if self._sent.token == token:
                self._sent = None
            else:
                self._shadow = response_id
        self._active, self._active_until = response_id, now + _SILENCE_S_MAX
        self._busy_until = None
        self._cancelling = token in self._orphans
        if self._cancelling:
            self._orphans.discard(token)
            return Began(response_id, ask, orphan=True)
        if ask is None:
            self._drop_answered()
        return Began(response_id, ask)

    def heard_of(self, response_id: str, now: float) -> None:
        """Any event of a response: it lives."""
        if response_id == self._active:
            self._active_until = now + _SILENCE_S_MAX

    def ended(self, response_id: str) -> bool:
        """`response.done`. False for one that was not the active one."""
        self._busy_until = None
        if response_id in self._aside:
            self._aside.discard(response_id)
            return False
        if self._shadow is not None and self._shadow == response_id:
            # No error came and none can come any more: this one was ours, from a server that drops metadata.
            self._sent, self._shadow = None, None
        if response_id != self._active:
            return False
        self._active, self._cancelling = None, False
        return True

    def refused(self, event_id: str | None, code: str | None, now: float) -> Refusal:
        """An error of the model's, for the client event `event_id`."""
        collision = code == "conversation_already_has_active_response"
        sent = self._sent
        if sent is None or (event_id != sent.token and not (event_id is None and collision)):
            return "retried" if event_id is not None and self._forget(event_id) else "not_ours"
        self._sent, self._shadow = None, None
        self._issued.pop(sent.token, None)
        dropped = sent.token in self._orphans
        self._orphans.discard(sent.token)
        if collision and not dropped and sent.tries < _TRIES_MAX:
            # Whose response it is will be told by its `response.created` or its `response.done`.
            self._busy_until = now + _BUSY_S_MAX if self._active is None else None
            self._queue.appendleft(replace(sent, token=self._ids.new("response"), tries=sent.tries + 1))
            return "retried"
        return "retried" if dropped else "gave_up"

    def cancel(self) -> str | None:
        """Whatever is being said is not wanted any more. Returns the response to cancel at the model, if any: the active
        one, once; one that has not begun is cancelled when it does."""
        if self._sent is not None:
            self._orphans.add(self._sent.token)
            self._sent = None
        if self._active is None or self._cancelling:
            return None
        self._cancelling = True
        return self._active

    def lost(self) -> None:
        """The model session is gone; what it had not begun to answer is asked again of the next one."""
        if self._sent is not None and self._sent.token not in self._orphans:
            self._queue.appendleft(replace(self._sent, token=self._ids.new("response")))
        self._sent = self._shadow = self._active = self._busy_until = None
        self._cancelling = False
        self._issued.clear()
        self._orphans.clear()
        self._aside.clear()
        self._known_items.clear()

    def expire(self, now: float) -> list[str]:
        """Time limits. Returns what was given up, in words."""
        given_up = []
        if self._sent is not None and now >= self._sent_until:
            sent, self._sent, self._shadow = self._sent, None, None
            self._orphans.add(sent.token)  # should it come after all
            if sent.tries < _TRIES_MAX:
                self._queue.appendleft(replace(sent, token=self._ids.new("response"), tries=sent.tries + 1))
            given_up.append("the model did not answer a response.create in time")
        if self._active is not None and now >= self._active_until:
            given_up.append(f"response {self._active} fell silent and was never ended")
            self._active, self._cancelling = None, False
        if self._busy_until is not None and now >= self._busy_until:
            self._busy_until = None
        return given_up

    def next_deadline(self) -> float | None:
        times = [
            self._sent_until if self._sent is not None else None,
            self._active_until if self._active is not None else None,
            self._busy_until,
        ]
        return min((t for t in times if t is not None), default=None)

    def clear(self) -> None:
        """The session ends: nothing more is asked."""
        self._queue.clear()
        self._sent = self._busy_until = None

    # -- inside --

    def _issue(self, ask: Ask) -> client.ResponseCreate:
        self._issued[ask.token] = ask
        while len(self._issued) > _ISSUED_MAX:
            self._issued.pop(next(iter(self._issued)))
        params = dict(ask.params or {})
        params["metadata"] = {**params.get("metadata", {}), METADATA_KEY: ask.token}
        return client.ResponseCreate(event_id=ask.token, response=params)

    def _drop_answered(self) -> None:
        """Somebody else's response began, with the items in the conversation that automatic asks were about."""
        for ask in [ask for ask in self._queue if not ask.explicit]:
            if ask.items and ask.items <= self._known_items:
                self._queue.remove(ask)
        self._known_items = {item for item in self._known_items if any(item in ask.items for ask in self._queue)}

    def _forget(self, token: str) -> bool:
        """An error for a request that is no longer waited for."""
        known = token in self._orphans or token in self._issued
        self._orphans.discard(token)
        self._issued.pop(token, None)
        return known
