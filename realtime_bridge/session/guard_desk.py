"""The flow of output guardrails: run them on growing words, release audio that has passed, act on a trip once."""

from __future__ import annotations

from realtime_bridge.session.commands import Interrupt, Release, RunGuardrails, Send
from realtime_bridge.session.conversation import Key
from realtime_bridge.session.core import Core
from realtime_bridge.session.events import GuardrailTripped
from realtime_bridge.session.guards import Guards, Run
from realtime_bridge.session.inputs import GuardrailVerdict
from realtime_bridge.wire import client

_FEEDBACK = (
    "Your last reply was stopped by the guardrail {name!r}, and the caller may have heard part of it. "
    "Do not repeat it. Say in one sentence that you cannot say that, and go on with what you may say."
)


class GuardDesk:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._holding = core.settings.holdback_ms > 0
        self._guards = Guards(core.ids, every_chars=core.settings.every_chars, eager=self._holding)

    def spoke(self, key: Key, response_id: str, text: str, *, whole: bool) -> None:
        """An assistant's item has these words so far."""
        agent = self._core.agent_of(response_id)
        if not agent.guarded or self._core.is_dropped(response_id):
            return
        report = self._guards.ended if whole else self._guards.grew
        self._start(report(key, response_id, agent.name, text))

    def audio_came(self, key: Key, response_id: str) -> None:
        """The first audio of an item: without guardrails nothing needs to wait."""
        if self._holding and not self._core.agent_of(response_id).guarded:
            self._core.do(Release(item_id=key[0], content_index=key[1]))

    def verdict(self, verdict: GuardrailVerdict) -> None:
        for name, what in verdict.errors:
            self._core.problem(what, "guardrail", tool=name)
        known = self._guards.verdict(verdict.run_id, tripped=verdict.tripped is not None)
        if known is None:
            return
        run, counts, more = known
        if counts:
            self._trip(run, verdict)
        elif verdict.tripped is None:
            self._release(run.key)
        self._start(more)

    def response_ended(self, response_id: str) -> None:
        self._guards.forget(response_id)

    def _start(self, run: Run | None) -> None:
        if run is not None:
            self._core.do(RunGuardrails(run_id=run.run_id, agent=run.agent, text=run.text))

    def _release(self, key: Key) -> None:
        """Let go what cannot hold more than the words that have passed."""
        if not self._holding:
            return
        chars, everything = self._guards.passed(key)
        spoken = self._core.conversation.spoken(*key)
        sure_ms = None if everything or spoken is None else spoken.sure_ms(chars)
        if sure_ms is None and not everything:
            sure_ms = spoken.audio_ms if spoken is not None else 0
        self._core.do(Release(item_id=key[0], content_index=key[1], audio_ms=sure_ms))

    def _trip(self, run: Run, verdict: GuardrailVerdict) -> None:
        """Stop the reply, tell the program, and tell the model, unless the conversation has moved on."""
        core = self._core
        assert verdict.tripped is not None
        core.emit(
            GuardrailTripped(
                agent=run.agent,
                guardrail=verdict.tripped,
                response_id=run.response_id,
                item_id=run.key[0],
                text=run.text,
                info=verdict.info,
            )
        )
        core.drop(run.response_id)
        if core.latest != run.response_id:
            return
        self._silence(run)
        feedback = verdict.feedback or _FEEDBACK.format(name=verdict.tripped)
        core.responses.want(items=(core.note(feedback),))

    def _silence(self, run: Run) -> None:
        core = self._core
        core.interrupted()
        active = core.responses.active == run.response_id
        cancelled = core.responses.cancel() if active else None
        if core.settings.plays_audio:
            if active or run.key[0] in core.line.playing(core.now):
                core.do(Interrupt())
            return
        if cancelled is not None:
            core.do(Send(event=client.ResponseCancel(event_id=core.ids.new("cancel"), response_id=cancelled)))
        core.stop_program_playback("guardrail")
