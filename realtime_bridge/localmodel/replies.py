"""The responses in progress: at most one that belongs to the conversation, and others beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec

from realtime_bridge.localmodel.conversation import Conversation, Entry
from realtime_bridge.localmodel.parts import Turn
from realtime_bridge.localmodel.refusals import Refusal
from realtime_bridge.localmodel.reply import Pace, Reply, ReplySettings
from realtime_bridge.localmodel.session_config import (
    ResponseParams,
    SessionConfig,
    format_name,
    voice_change_refused,
)
from realtime_bridge.localmodel.work import Ask, Command, ReplyResult, Stop


class Replies:
    def __init__(
        self,
        conversation: Conversation,
        conversation_id: str,
        *,
        out_of_band_max: int,
        pace: Pace,
        give: Callable[[Command], None],
        new_id: Callable[[str], str],
    ) -> None:
        self._conversation = conversation
        self._conversation_id = conversation_id
        self._out_of_band_max = out_of_band_max
        self._pace = pace
        self._give = give
        self._new_id = new_id
        self._replies: list[Reply] = []
        self._assistant_spoke = False

    @property
    def current(self) -> Reply | None:
        """The one that belongs to the conversation."""
        return next((reply for reply in self._running() if reply.belongs), None)

    @property
    def assistant_spoke(self) -> bool:
        """Whether the conversation has heard the assistant, whose voice is thereby fixed."""
        return self._assistant_spoke or any(reply.belongs and reply.audio_ms > 0 for reply in self._replies)

    @property
    def due(self) -> list[float]:
        return [reply.due for reply in self._running() if reply.due is not None]

    def find(self, response_id: str) -> Reply | None:
        return next((reply for reply in self._running() if reply.settings.id == response_id), None)

    def start(self, params: ResponseParams, config: SessionConfig, given: tuple[Entry, ...] | None) -> Reply:
        """Create a response. `given`: its context, if not the conversation. Raises Refusal."""
        beside = params.conversation == "none"
        self._require_room(beside=beside)
        tools = config.tools if params.tools is None else params.tools
        reply = Reply(
            self._settings(params, config, beside=beside),
            turn=Turn(
                instructions=config.instructions if params.instructions is None else params.instructions,
                tools=tuple(msgspec.to_builtins(tools)),
                tool_choice=msgspec.to_builtins(params.tool_choice or config.tool_choice),
                items=(),
            ),
            context=tuple(self._conversation) if given is None else given,
            conversation=None if beside else self._conversation,
            give=self._give,
            new_id=self._new_id,
        )
        self._replies.append(reply)
        reply.begin()
        self.ask()
        return reply

    def ask(self) -> None:
        """Ask the brain on behalf of those for whom everything that was said is known in words by now."""
        for reply in self._running():
            parts = (part for entry in reply.context for part in entry.parts)
            if reply.asked or any(part.type == "input_audio" and part.words is None for part in parts):
                continue
            reply.asked = True
            items = tuple(entry.read() for entry in reply.context)
            self._give(Ask(reply.settings.id, replace(reply.turn, items=items)))

    def take(self, result: ReplyResult, now: float) -> None:
        if reply := self.find(result.response_id):
            reply.take(result, now)

    def tick(self, now: float) -> None:
        for reply in self._running():
            if reply.due is not None and reply.due <= now:
                reply.tick(now)

    def stop_all(self) -> None:
        """End without a word: the session is over."""
        for reply in self._running():
            self._give(Stop(reply.settings.id))
        self._replies.clear()

    def settled(self) -> list[Reply]:
        """Let go of the responses that are over, and return them."""
        over = [reply for reply in self._replies if reply.over]
        if over:
            self._assistant_spoke = self.assistant_spoke
            self._replies = self._running()
        for reply in over:
            self._give(Stop(reply.settings.id))
        return over

    def _running(self) -> list[Reply]:
        return [reply for reply in self._replies if not reply.over]

    def _require_room(self, *, beside: bool) -> None:
        if not beside and self.current is not None:
            message = (
                f"Conversation already has an active response in progress: {self.current.settings.id}. "
                "Wait until the response is finished before creating a new one."
            )
            raise Refusal(message, code="conversation_already_has_active_response")
        if beside and sum(not reply.belongs for reply in self._running()) >= self._out_of_band_max:
            message = f"At most {self._out_of_band_max} out-of-band responses can be in progress."
            raise Refusal(message, code="too_many_active_responses")

    def _settings(self, params: ResponseParams, config: SessionConfig, *, beside: bool) -> ReplySettings:
        chosen, default = params.audio.output, config.audio.output
        if chosen.voice not in (None, default.voice) and self.assistant_spoke and not beside:
            raise voice_change_refused()
        audio_format = chosen.format or default.format
        return ReplySettings(
            id=self._new_id("resp"),
            conversation_id=None if beside else self._conversation_id,
            modalities=params.output_modalities or config.output_modalities,
            audio={"output": {"format": msgspec.to_builtins(audio_format), "voice": chosen.voice or default.voice}},
            format=format_name(audio_format),
            max_output_tokens=params.max_output_tokens or config.max_output_tokens,
            metadata=params.metadata,
            pace=self._pace,
        )
