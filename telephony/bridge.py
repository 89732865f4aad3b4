"""The bridge: one phone's media stream joined to one realtime model, and barge-in.

It routes. What comes in (phone messages, server events, client events of the session, time) goes to the leaf that knows:
`caller_audio` (caller to model), `agent_audio` (model to phone), `playout` (what was heard). What is decided here is
barge-in, in one synchronous step:

    1. `clear` takes the unheard audio back from the phone;
    2. responses that the server does not cancel by itself are cancelled;
    3. every item that was not wholly heard is truncated at what the caller heard of it;
    4. audio that still comes of a response interrupted so is dropped until its `response.done`.

Our own audio (`own_audio`: recorded messages, tones, what is heard on hold) passes beside the model's, and survives this.

Over a WebSocket "the client is responsible for ... truncating" (OpenAI, Realtime conversations, "Handling audio with
WebSockets"): the server's VAD cancels the response and does no more. Playout outlives `response.done`: a reply that was
generated long ago can still be interrupted, and one that was heard to its end cannot.

Pure: `commands = bridge.handle(input, now)`; `bridge.next_deadline` says when to call `handle(Tick(), now)`.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from math import inf
from typing import Any, cast

import msgspec
import pybase64

from realtime_bridge.audio.transcode import Transcoder
from realtime_bridge.copying import HandlerTable
from realtime_bridge.transport.base import (
    AudioReceived,
    DtmfReceived,
    ItemCut,
    PlaybackFinished,
    PlaybackInterrupted,
    PlaybackStarted,
    TransportEvent,
    TransportProblem,
)
from realtime_bridge.wire import ClientEvent, client, encode, server
from realtime_bridge.wire.session import audio_settings, other_formats
from telephony.agent_audio import AgentAudio
from telephony.bridge_commands import Command, EndCall, ModelReady, ModelUnfit, Played, Report, ToModel, ToPhone
from telephony.bridge_inputs import (
    PASSED_ON,
    BridgeInput,
    Discard,
    EndHold,
    Hold,
    HoldBack,
    Interrupt,
    LineEnded,
    ModelGone,
    ModelSwitched,
    Mute,
    MuteAgent,
    Play,
    Release,
    Resume,
    Tick,
)
from telephony.caller_audio import CallerAudio
from telephony.own_audio import OwnAudio
from telephony.phone_audio import PhoneAudio
from telephony.playout import ItemKey, ItemPlayout, PlayedSpan, PlayoutLedger
from telephony.truncates import Truncates
from telephony.twilio.media_stream import MediaStreamWriter
from telephony.twilio.messages import Dtmf, Mark, Media, Stop

PROBES_FIRST = 24  # marks at the start of a stream, to know the round trip before the first word
PROBE_FIRST_S = 0.04
PROBE_S = 1.0
PROBE_S_IN_JITTER = 0.25
REPLIES_MAX = 64
FORMAT_TRIES = 2


@dataclass(slots=True)
class _Reply:
    """A response between `response.created` and `response.done`."""

    response_id: str
    in_conversation: bool = True
    dropped: bool = False
    cut: set[ItemKey] = field(default_factory=set)  # truncated already


class Bridge(HandlerTable):
    """The machine of one call. Feed it everything that happens, in order; do what it returns, in order."""

    def __init__(self, stream_sid: str, transcoder: Transcoder, *, now: float) -> None:
        self._transcoder = transcoder
        self._ledger = PlayoutLedger()
        self._caller = CallerAudio(transcoder)
        phone = PhoneAudio(MediaStreamWriter(stream_sid), self._ledger)
        self._agent = AgentAudio(phone, transcoder)
        self._own = OwnAudio(phone)
        self._muted = self._agent_muted = self._held = False
        self._replies: dict[str, _Reply] = {}
        self._at_model: set[ItemKey] = set()  # unheard items that the model of this connection knows
        self._interrupts = True  # the session's turn detection interrupts the reply when the caller speaks
        self._truncates = Truncates()
        self._event_count = 0
        self._format_tries = 0
        self._told_lost_ms = 0.0
        self._confirmed = False
        self._resumed = True  # there is nothing that a first session would have to be told
        self._probes = 0
        self._probe_at = now
        self._playout_at = inf
        self._agent_at = self._own_at = inf
        self._handlers = self._table()

    # ---- the machine's three doors -------------------------------------------------------------------------------

    def handle(self, event: BridgeInput, now: float) -> list[Command]:
        """Take one input at the time it happened; returns what to do, in order."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            return handler(event, now)
        return [Report(cast("TransportEvent", event))]

    @property
    def next_deadline(self) -> float:
        """When to call `handle(Tick(), now)`, unless something else happens before."""
        return min(self._probe_at, self._caller.stalls_at, self._playout_at, self._agent_at, self._own_at)

    def take_played(self, now: float, *, final: bool = False) -> list[PlayedSpan]:
        """What the caller has heard since the last call, for recordings. `final`: the stream is over."""
        return self._ledger.take_played(now, final=final)

    @property
    def round_trip_ms(self) -> float:
        return self._ledger.round_trip_ms

    def plays_until(self, now: float) -> float:
        """When the caller will have heard everything that was sent."""
        return self._ledger.plays_until(now)

    def _table(self) -> dict[type, Callable[[Any, float], list[Command]]]:
        return {
            Media: self._on_media,
            Mark: self._on_mark,
            Dtmf: lambda m, _: [Report(DtmfReceived(digit=m.digit))],
            Stop: lambda _m, _: [EndCall("the caller hung up, or the call was moved on")],
            Tick: self._on_tick,
            Interrupt: self._on_interrupt,
            Mute: self._on_mute,
            MuteAgent: self._on_mute_agent,
            Play: self._on_play,
            Hold: self._on_hold,
            EndHold: self._on_end_hold,
            Discard: self._on_discard,
            HoldBack: self._on_hold_back,
            Release: self._on_release,
            LineEnded: self._on_line_ended,
            ModelGone: self._on_model_gone,
            ModelSwitched: self._on_model_switched,
            Resume: self._on_resume,
            server.SessionUpdated: self._on_session_updated,
            server.InputAudioBufferSpeechStarted: self._on_speech_started,
            server.InputAudioBufferSpeechStopped: self._on_speech_stopped,
            server.ResponseCreated: self._on_response_created,
            server.ResponseDone: self._on_response_done,
            server.ResponseOutputAudioDelta: self._on_audio,
            server.ResponseOutputAudioDone: self._on_audio_done,
            server.ErrorEvent: self._on_error,
            client.SessionUpdate: self._on_session_update,
            **dict.fromkeys(PASSED_ON, self._on_client_event),
        }

    # ---- the phone ---------------------------------------------------------------------------------------------------

    def _on_media(self, media: Media, now: float) -> list[Command]:
        return list(map(ToModel, self._caller.media(media, now)))  # no function call of ours, fifty times a second

    def _on_mark(self, mark: Mark, now: float) -> list[Command]:
        self._ledger.mark_echoed(mark.name, now)
        played: list[Command] = [Played(audio_id, echoed=True) for audio_id in self._own.mark_echoed(mark.name)]
        return self._advance(now) + played

    def _on_tick(self, _: Tick, now: float) -> list[Command]:
        commands: list[Command] = [ToModel(frame) for frame in self._caller.stall(now)]
        if now >= self._agent_at:
            commands += self._to_phone(self._agent.let_go(now) + self._agent.refill(now), now)
        if now >= self._own_at:
            commands += [Played(audio_id, echoed=False) for audio_id in self._own.overdue(now)]
            commands += self._to_phone(self._own.refill(now), now)
        commands += self._report_losses()
        if now >= self._probe_at:
            self._probes += 1
            self._probe_at = now + self._probe_pause_s()
            if not self._agent.unheard(now):
                commands += self._to_phone(self._agent.probe(now), now)
        if now >= self._playout_at:
            commands += self._advance(now)
        return commands

    def _report_losses(self) -> list[Command]:
        """Audio beyond a limit is left out, and somebody is told."""
        losses = {
            "caller audio was not kept while the model was away": self._caller.lost_ms,
            "a gap in the caller's audio was longer than can be": self._caller.unfilled_ms,
            "agent audio was beyond what may wait": self._agent.lost_ms,
        }
        total_ms = sum(losses.values())
        if total_ms <= self._told_lost_ms:
            return []
        self._told_lost_ms = total_ms
        told = "; ".join(f"{what}: {ms:.0f} ms in all" for what, ms in losses.items() if ms)
        return [Report(TransportProblem(message=told))]

    def _probe_pause_s(self) -> float:
        if self._probes < PROBES_FIRST:
            return PROBE_FIRST_S
        return PROBE_S_IN_JITTER if self._ledger.jitters else PROBE_S

    def _advance(self, now: float) -> list[Command]:
        """Report what the caller has begun to hear, and heard to its end."""
        commands: list[Command] = []
        for change in self._ledger.advance(now):
            if self._own.owns(change if isinstance(change, ItemKey) else change.key):
                if not isinstance(change, ItemKey):
                    self._own.heard(change.key)
            elif isinstance(change, ItemKey):
                commands.append(Report(PlaybackStarted(**msgspec.structs.asdict(change))))
            else:
                self._at_model.discard(change.key)
                key = msgspec.structs.asdict(change.key)
                commands.append(Report(PlaybackFinished(**key, audio_ms=int(change.audio_ms))))
        self._playout_at = self._ledger.next_change_at(now)
        return commands

    def _to_phone(self, frames: list[bytes], now: float) -> list[Command]:
        if self._own.waiting and self._agent.lets_others_speak:
            frames = frames + self._own.release(now)
        self._playout_at = self._ledger.next_change_at(now)
        self._agent_at = self._agent.due_at(now)
        self._own_at = self._own.due_at(now)
        return [ToPhone(frame) for frame in frames]

    # ---- the model: session and formats --------------------------------------------------------------------------------

    def _on_session_update(self, event: client.SessionUpdate, _now: float) -> list[Command]:
        """Both formats go into every update: a session that forgets them falls back to PCM, which is static here."""
        session = deepcopy(event.session)
        audio = session.setdefault("audio", {})
        for way in ("input", "output"):
            audio.setdefault(way, {})["format"] = self._transcoder.model_format_json
        session.setdefault("type", "realtime")
        return [ToModel(encode(msgspec.structs.replace(event, session=session)))]

    def _on_session_updated(self, event: server.SessionUpdated, _now: float) -> list[Command]:
        if wrong := other_formats(event.session, self._format_type):
            return self._insist_on_formats(", ".join(wrong))
        self._format_tries = 0
        detection = audio_settings(event.session, "input").get("turn_detection", {})
        gentle = isinstance(detection, dict) and detection.get("interrupt_response") is False
        self._interrupts = detection is not None and not gentle
        self._confirmed = True
        return [ModelReady(), *self._listen(), Report(event)]

    def _listen(self) -> list[Command]:
        """The caller is heard by a model that has confirmed its formats and knows the conversation."""
        if not (self._confirmed and self._resumed):
            return []
        return [ToModel(frame) for frame in self._caller.model_ready()]

    def _on_resume(self, _: Resume, _now: float) -> list[Command]:
        self._resumed = True
        return self._listen()

    @property
    def _format_type(self) -> str:
        return str(self._transcoder.model_format_json["type"])

    def _insist_on_formats(self, wrong: str) -> list[Command]:
        self._format_tries += 1
        message = f"the model's audio format is not the call's ({self._format_type}): {wrong}"
        if self._format_tries >= FORMAT_TRIES:
            return [ModelUnfit(message)]
        again = client.SessionUpdate(session={})
        return [Report(TransportProblem(message=message)), *self._on_session_update(again, 0.0)]

    def _on_model_gone(self, _: ModelGone, now: float) -> list[Command]:
        """What was sent plays on; nothing of it can be truncated at a model that is gone."""
        self._confirmed = self._resumed = False
        self._format_tries = 0
        self._caller.model_gone()
        self._replies.clear()
        self._truncates.forget()
        self._at_model.clear()
        return self._to_phone(self._agent.finish_response(None, now), now)

    def _on_model_switched(self, _: ModelSwitched, now: float) -> list[Command]:
        commands = self._on_model_gone(ModelGone(), now)
        self._confirmed = True
        return commands

    # ---- the model: replies --------------------------------------------------------------------------------------------

    def _on_response_created(self, event: server.ResponseCreated, _now: float) -> list[Command]:
        response = event.response
        if response.id is not None:
            if len(self._replies) >= REPLIES_MAX:
                del self._replies[next(iter(self._replies))]
            self._replies[response.id] = _Reply(response.id, in_conversation=response.conversation_id is not None)
        return [Report(event)]

    def _on_response_done(self, event: server.ResponseDone, now: float) -> list[Command]:
        withheld = self._withhold(event.response.id or "", now) if self._agent_muted else []
        reply = self._replies.pop(event.response.id or "", None)
        frames = self._agent.finish_response(event.response.id, now) if reply is None or not reply.dropped else []
        return [*withheld, *self._to_phone(frames, now), Report(event)]

    def _on_audio(self, event: server.ResponseOutputAudioDelta, now: float) -> list[Command]:
        key = ItemKey(event.response_id, event.item_id, event.content_index)
        reply = self._replies.get(event.response_id)
        if reply is not None and reply.dropped:
            return self._drop(reply, key)
        try:
            audio = pybase64.b64decode(event.delta, None, True)
        except ValueError:
            problem = TransportProblem(message="audio that is not base64 was left out", where="$.delta")
            return [Report(problem)]
        self._at_model.add(key)
        commands = self._to_phone(self._agent.delta(key, audio, now), now)
        received = AudioReceived(**msgspec.structs.asdict(key), audio_ms=self._agent.item_ms)
        return [*commands, Report(received)]

    def _drop(self, reply: _Reply, key: ItemKey) -> list[Command]:
        """Late audio of an interrupted response: the caller never hears it, and the model shall know."""
        if key in reply.cut or not reply.in_conversation:
            return []
        reply.cut.add(key)
        return [self._truncate(key, 0)]

    def _on_audio_done(self, event: server.ResponseOutputAudioDone, now: float) -> list[Command]:
        key = ItemKey(event.response_id, event.item_id, event.content_index)
        return [*self._to_phone(self._agent.finish(key, now), now), Report(event)]

    # ---- barge-in ------------------------------------------------------------------------------------------------------

    def _on_speech_started(self, event: server.InputAudioBufferSpeechStarted, now: float) -> list[Command]:
        commands = self._cut_off(now, by="speech", cancelled_by_server=True) if self._interrupts else []
        return [*commands, Report(event)]

    def _on_speech_stopped(self, event: server.InputAudioBufferSpeechStopped, _now: float) -> list[Command]:
        self._caller.turn_ended()
        return [Report(event)]

    def _on_interrupt(self, _: Interrupt, now: float) -> list[Command]:
        return self._cut_off(now, by="program", cancelled_by_server=False)

    def _cut_off(self, now: float, *, by: str, cancelled_by_server: bool) -> list[Command]:
        """Barge-in, in one step (see the top of this module)."""
        commands = self._advance(now)  # what was heard to its end just now is not cut
        cleared, unheard = self._take_back(now)
        commands += cleared
        for reply in self._replies.values():
            if not reply.dropped and not (cancelled_by_server and reply.in_conversation):
                commands.append(ToModel(encode(self._cancel(reply.response_id))))
            reply.dropped = True
        cuts = tuple(map(_cut, unheard))
        for p, cut in zip(unheard, cuts, strict=True):
            commands += self._truncate_item(p.key, cut.heard_ms)
        if cleared or cuts:
            commands.append(Report(PlaybackInterrupted(cuts=cuts, by=by)))
        return commands + self._to_phone([], now)

    def _take_back(self, now: float) -> tuple[list[Command], list[ItemPlayout]]:
        """Clear the phone, if there is something unheard of the agent's; returns the agent's items that this cuts.

        Our own audio is not the caller's to interrupt: alone it plays on, and of what went with the agent's the rest is
        sent again.
        """
        if self._own.outstanding and all(self._own.owns(item.key) for item in self._ledger.items(now)):
            return [], []
        speaking = self._agent.unheard(now)
        # Also when the phone has run dry: a reply that is still being generated has items that will stay unheard.
        clear, cut = self._agent.clear(now)
        unheard = [item for item in cut if not self._own.owns(item.key)]
        self._own.taken_back(cut)
        return [ToPhone(clear)] if speaking else [], unheard

    def _on_line_ended(self, _event: LineEnded, now: float) -> list[Command]:
        """Nothing more is heard, and nobody is left to be sent anything: only the session is told what was cut."""
        commands = self._advance(now)
        _, unheard = self._take_back(now)
        if unheard:
            commands.append(Report(PlaybackInterrupted(cuts=tuple(map(_cut, unheard)), by="end")))
        return commands

    def _truncate_item(self, key: ItemKey, heard_ms: int) -> list[Command]:
        if key not in self._at_model:
            return []
        self._at_model.discard(key)
        reply = self._replies.get(key.response_id)
        if reply is not None:
            reply.cut.add(key)
            if not reply.in_conversation:
                return []
        return [self._truncate(key, heard_ms)]

    def _truncate(self, key: ItemKey, audio_end_ms: int, *, retried: bool = False) -> ToModel:
        return ToModel(encode(self._truncates.make(key, audio_end_ms, self._next_event_id(), retried=retried)))

    def _cancel(self, response_id: str) -> client.ResponseCancel:
        return client.ResponseCancel(event_id=self._next_event_id(), response_id=response_id)

    def _next_event_id(self) -> str:
        self._event_count += 1
        return f"bridge_{self._event_count}"

    def _on_error(self, event: server.ErrorEvent, _now: float) -> list[Command]:
        """An error is no reason to end a call. A truncate that was too long is sent once more, at the server's length."""
        again = self._truncates.shortened(event.error)
        return [Report(event)] if again is None else [self._truncate(*again, retried=True), Report(event)]

    # ---- the session ---------------------------------------------------------------------------------------------------

    def _on_client_event(self, event: ClientEvent, _now: float) -> list[Command]:
        return [ToModel(encode(event))]

    def _on_discard(self, event: Discard, now: float) -> list[Command]:
        if (reply := self._replies.get(event.response_id)) is not None:
            reply.dropped = True
        self._agent.drop(event.response_id)
        return self._to_phone([], now)

    def _on_hold_back(self, event: HoldBack, _now: float) -> list[Command]:
        self._agent.hold_back(event.budget_ms)
        return []

    def _on_release(self, event: Release, now: float) -> list[Command]:
        return self._to_phone(self._agent.release(event.item_id, event.content_index, event.audio_ms, now), now)

    # ---- who hears whom, and our own audio --------------------------------------------------------------------------------

    def _open_ways(self) -> list[Command]:
        self._caller.muted = self._muted or self._held
        self._agent.gate(self._agent_muted or self._held)
        return []

    def _on_mute(self, event: Mute, _now: float) -> list[Command]:
        self._muted = event.muted
        return self._open_ways()

    def _on_play(self, event: Play, now: float) -> list[Command]:
        fits = self._own.play(event.audio_id, event.mulaw)
        return self._to_phone([], now) if fits else [Played(event.audio_id, echoed=False)]

    def _on_hold(self, event: Hold, now: float) -> list[Command]:
        self._held = True
        self._open_ways()
        self._own.hold(event.loop)
        return self._to_phone(self._own.refill(now), now)

    def _on_end_hold(self, _: EndHold, now: float) -> list[Command]:
        self._held = False
        self._own.end_hold()
        self._open_ways()
        return self._to_phone(self._agent.refill(now), now)

    def _on_mute_agent(self, event: MuteAgent, now: float) -> list[Command]:
        """What the agent is saying is cut off; what it says from then on is made, and not heard."""
        if event.muted == self._agent_muted:
            return []
        commands = self._cut_off(now, by="program", cancelled_by_server=False) if event.muted else []
        self._agent_muted = event.muted
        self._open_ways()
        return commands + self._to_phone(self._agent.refill(now), now)

    def _withhold(self, response_id: str, now: float) -> list[Command]:
        """A response is complete of which the caller was to hear nothing: model and session know that."""
        unheard = [item for item in self._ledger.items(now) if item.key.response_id == response_id]
        commands: list[Command] = []
        for item in unheard:
            commands += self._truncate_item(item.key, int(item.heard_ms))
        self._agent.drop(response_id)
        if unheard:
            commands.append(Report(PlaybackInterrupted(cuts=tuple(map(_cut, unheard)), by="program")))
        return commands


def _cut(playout: ItemPlayout) -> ItemCut:
    return ItemCut(
        **msgspec.structs.asdict(playout.key), heard_ms=int(playout.heard_ms), audio_ms=int(playout.audio_ms)
    )
