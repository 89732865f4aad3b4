"""What a transport reports: sockets, and what became of the model's audio on its way to the caller's ear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from realtime_bridge.copying import HandlerTable
from realtime_bridge.session.commands import Close
from realtime_bridge.session.core import Core
from realtime_bridge.session.events import AudioInterrupted, AudioStart, AudioStopped, Dtmf, TransportEventSeen
from realtime_bridge.session.guard_desk import GuardDesk
from realtime_bridge.session.recovery import Recovery
from realtime_bridge.session.tool_desk import ToolDesk
from realtime_bridge.transport import base
from realtime_bridge.transport.base import ItemCut


class Reports(HandlerTable):
    def __init__(self, core: Core, tools: ToolDesk, guards: GuardDesk, recovery: Recovery) -> None:
        self._core = core
        self._tools = tools
        self._guards = guards
        self._recovery = recovery
        self._begun: set[str] = set()  # items that the caller has begun to hear, and not yet to the end
        self._handlers = self._table()

    def _table(self) -> dict[type, Callable[[Any], None]]:
        core, recovery = self._core, self._recovery
        return {
            base.AudioReceived: self._received,
            base.PlaybackStarted: self._playing,
            base.PlaybackFinished: self._finished,
            base.PlaybackInterrupted: self._interrupted,
            base.DtmfReceived: lambda r: core.emit(Dtmf(digit=r.digit)),
            base.ModelConnected: lambda r: recovery.connected(r.attempt),
            base.SpareReady: lambda r: recovery.spare_ready(r.expires_at),
            base.ModelLost: self._lost,
            base.TransportProblem: self._problem,
        }

    def handle(self, event: Any) -> bool:
        """False when it is not a transport's report."""
        handler = self._handlers.get(type(event))
        if handler is None:
            return False
        self._core.emit(TransportEventSeen(event=event))
        handler(event)
        return True

    def program_played(self) -> None:
        """Where the program plays: what it has played to the end by now."""
        core = self._core
        for (item_id, _), _, audio_ms in core.playback.finished(core.now, growing=core.responses.active):
            core.line.silent(item_id)
            core.emit(*core.conversation.played(item_id, audio_ms))

    def line_ended(self) -> None:
        """The caller is gone: what was to be heard after this was not. A transport that plays has reported, before
        it closed, what was cut of an item the caller was hearing."""
        core = self._core
        if not core.settings.plays_audio:
            core.stop_program_playback("end")
            return
        for item_id in core.line.playing(core.now):
            item = core.conversation.get(item_id)
            if item is None or item_id in self._begun:
                continue
            for index, _ in enumerate(item.content):
                if (spoken := core.conversation.spoken(item_id, index)) is not None:
                    cut = ItemCut(
                        response_id=item.response_id or "",
                        item_id=item_id,
                        content_index=index,
                        heard_ms=0,
                        audio_ms=spoken.audio_ms,
                    )
                    core.cut((cut,))

    def _received(self, report: base.AudioReceived) -> None:
        core = self._core
        core.responses.heard_of(report.response_id, core.now)
        if core.is_silenced(report.response_id):
            return
        key = (report.item_id, report.content_index)
        spoken = core.conversation.spoken(*key)
        first = spoken is None or spoken.audio_ms == 0
        core.conversation.audio_received(*key, report.audio_ms)
        core.line.sounding(report.item_id, core.now)
        if first:
            core.config.freeze_voice()
            self._guards.audio_came(key, report.response_id)
        if not core.settings.plays_audio and core.playback.received(key, report.response_id, report.audio_ms, core.now):
            core.emit(self._start(report.response_id, report.item_id))

    def _playing(self, report: base.PlaybackStarted) -> None:
        self._begun.add(report.item_id)
        self._core.emit(self._start(report.response_id, report.item_id))

    def _finished(self, report: base.PlaybackFinished) -> None:
        core = self._core
        self._begun.discard(report.item_id)
        core.line.silent(report.item_id)
        core.emit(*core.conversation.played(report.item_id, report.audio_ms))
        agent = core.agent_of(report.response_id).name
        core.emit(AudioStopped(agent=agent, response_id=report.response_id, item_id=report.item_id))

    def _interrupted(self, report: base.PlaybackInterrupted) -> None:
        core = self._core
        self._begun.clear()
        core.cut(report.cuts)
        core.line.all_silent()
        for cut in report.cuts:
            if core.conversation.was_told(cut.item_id):
                self._recovery.retell(cut.item_id)
        core.emit(AudioInterrupted(cuts=report.cuts, by=report.by))
        if report.by == "speech" and report.cuts:
            self._tools.cut_short()

    def _lost(self, report: base.ModelLost) -> None:
        core = self._core
        if report.retryable:
            self._recovery.lost(report.message)
            return
        code = None if report.code is None else str(report.code)
        core.problem(report.message, "transport", code=code, fatal=True)
        core.do(Close(reason=report.message, error=report.message))

    def _problem(self, report: base.TransportProblem) -> None:
        message = f"{report.message} (at {report.where})" if report.where else report.message
        self._core.problem(message, "transport", level="warning")

    def _start(self, response_id: str, item_id: str) -> AudioStart:
        agent = self._core.agent_of(response_id).name
        return AudioStart(agent=agent, response_id=response_id, item_id=item_id)
