"""What the desks of a session share: the leaves, the list of commands being written, and the few words all of them use."""

from __future__ import annotations

from typing import Literal

from realtime_bridge.session.commands import Command, Discard, Emit, Send
from realtime_bridge.session.config import SessionConfig
from realtime_bridge.session.conversation import Conversation
from realtime_bridge.session.events import AudioInterrupted, SessionError, SessionEvent
from realtime_bridge.session.ids import Ids
from realtime_bridge.session.line import Line
from realtime_bridge.session.playback import ProgramPlayback
from realtime_bridge.session.responses import Responses
from realtime_bridge.session.specs import AgentSpec, SessionSettings
from realtime_bridge.transport.base import ItemCut
from realtime_bridge.wire import ClientEvent, ContentPart, Item, client

_REPLIES_MAX = 64  # responses whose agent is remembered, for late events


class Core:
    """State that more than one desk reads. `now` is set by the machine before each input."""

    def __init__(self, agent: AgentSpec, settings: SessionSettings) -> None:
        self.settings = settings
        self.agent = agent
        self.now = 0.0
        self.ids = Ids()
        self.config = SessionConfig(settings.config, settings.transport_config)
        self.conversation = Conversation(keep_audio=settings.keep_audio)
        self.responses = Responses(self.ids)
        self.line = Line()
        self.playback = ProgramPlayback()
        self.connected = False  # the model has the configuration and the conversation
        self.closing = False
        self.out: list[Command] = []
        self.latest: str | None = None  # the newest response, while the caller has not taken the turn since
        self._replies: dict[str, AgentSpec] = {}
        self._dropped: dict[str, None] = {}
        self._silenced: dict[str, None] = {}
        self._stopped: dict[str, None] = {}

    # -- telling --

    def do(self, command: Command) -> None:
        self.out.append(command)

    def emit(self, *events: SessionEvent) -> None:
        for event in events:
            self.out.append(Emit(event=event))

    def send(self, *events: ClientEvent) -> None:
        """To the model, if there is one; what it must know it is told again when it is back (`recovery`)."""
        if self.connected:
            self.out += [Send(event=event) for event in events]

    def problem(
        self,
        message: str,
        source: str,
        *,
        code: str | None = None,
        level: Literal["warning", "error"] = "error",
        tool: str | None = None,
        call_id: str | None = None,
        fatal: bool = False,
    ) -> None:
        self.emit(
            SessionError(
                message=message, source=source, code=code, level=level, tool=tool, call_id=call_id, fatal=fatal
            )
        )

    def note(self, text: str) -> str:
        """Tell the model something as the system; returns the item's id. It stands in the history."""
        item_id = self.ids.new("item")
        content = (ContentPart(type="input_text", text=text),)
        self.emit(*self.conversation.add_message(item_id, "system", content))
        item = Item(type="message", id=item_id, role="system", content=content)
        self.send(client.ConversationItemCreate(event_id=item_id, item=item))
        return item_id

    # -- replies --

    def reply_began(self, response_id: str) -> None:
        self._replies[response_id] = self.agent
        while len(self._replies) > _REPLIES_MAX:
            self._replies.pop(next(iter(self._replies)))

    def agent_of(self, response_id: str) -> AgentSpec:
        """The agent that was current when the response was created, whatever happened since."""
        return self._replies.get(response_id, self.agent)

    def drop(self, response_id: str) -> None:
        """Nothing of this response counts any more: it is not heard, and its calls are not run."""
        _remember(self._dropped, response_id)
        self.silence(response_id)

    def is_dropped(self, response_id: str) -> bool:
        return response_id in self._dropped

    def silence(self, response_id: str) -> None:
        """No more of this response is heard."""
        _remember(self._silenced, response_id)
        self.do(Discard(response_id=response_id))

    def is_silenced(self, response_id: str) -> bool:
        return response_id in self._silenced

    def interrupted(self) -> None:
        """The caller or the program stopped the reply in progress; what came of it before is another matter."""
        if self.responses.active is not None:
            self.emit(*self.conversation.stopped(self.responses.active))
            _remember(self._stopped, self.responses.active)

    def was_interrupted(self, response_id: str) -> bool:
        return response_id in self._stopped

    # -- the line --

    @property
    def quiet(self) -> bool:
        """Nobody speaks, nothing is to be heard, nobody is about to speak."""
        return self.responses.idle and not self.line.playing(self.now) and not self.line.turn_is_callers(self.now)

    def cut(self, cuts: tuple[ItemCut, ...]) -> None:
        """The caller heard these items in part only."""
        for cut in cuts:
            self.line.silent(cut.item_id)
            self.emit(*self.conversation.cut(cut))

    def stop_program_playback(self, by: str) -> bool:
        """Where the program plays: reckon what was heard, tell the model, the history and the program.

        False when there was nothing left to hear.
        """
        cuts = self.playback.interrupt(self.now)
        self.line.all_silent()
        for cut in cuts:
            if not self.conversation.was_told(cut.item_id):
                self.send(
                    client.ConversationItemTruncate(
                        event_id=self.ids.new("truncate"),
                        item_id=cut.item_id,
                        content_index=cut.content_index,
                        audio_end_ms=cut.heard_ms,
                    )
                )
        self.cut(cuts)
        if cuts:
            self.emit(AudioInterrupted(cuts=cuts, by=by))
        return bool(cuts)


def _remember(known: dict[str, None], response_id: str) -> None:
    known[response_id] = None
    while len(known) > _REPLIES_MAX:
        known.pop(next(iter(known)))
