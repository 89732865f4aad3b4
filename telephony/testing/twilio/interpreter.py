"""TwiML, run on one call: document after document, verb after verb, until it hangs up.

A verb ends by itself, or is cancelled: by a hang-up, or by new TwiML from REST (`redirect`). `joining` holds the verbs
that connect a call with somebody else. Source: https://www.twilio.com/docs/voice/twiml
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin

from realtime_bridge.errors import MisuseError
from telephony.testing.twilio.actions import action, tell_action
from telephony.testing.twilio.call import SimulatedCall
from telephony.testing.twilio.joining import connect, dial, enqueue
from telephony.testing.twilio.program import HANG_UP, LEAVE, Jump, Next, Outcome, Program
from telephony.testing.twilio.records import Executed, Recording
from telephony.testing.twilio.sound import beep, hold_music
from telephony.testing.twilio.twiml import TwimlError, Verb, read_twiml
from telephony.testing.twilio.wav import mulaw_of_wav
from telephony.testing.twilio.webhooks import WebhookError
from telephony.twilio.messages import Digit

APPLICATION_ERROR: Final = "We are sorry, an application error has occurred. Goodbye."
LOOPS_MAX: Final = 50  # of a prompt that is to be repeated for ever
UNREADABLE_SOUND_MS: Final = 3000  # what is heard instead of a sound that is not WAV
# https://www.twilio.com/docs/voice/twiml#twilio-understands-mime-types
_TWIML_TYPES: Final = frozenset({"text/xml", "application/xml", "text/html", "application/octet-stream"})
_NOT_ANSWERING: Final = frozenset({"Reject", "Redirect", "Pause", "Leave"})


class Interpreter:
    """Runs one program on one call; make another for the next."""

    def __init__(self, call: SimulatedCall, program: Program) -> None:
        self.call = call
        self.program = program

    async def run(self) -> None:
        """To the end of the call, unless it is cancelled before. The first error has the fallback URL asked, if any."""
        call, fallback = self.call, self.program
        program: Program | None = self.program
        try:
            while program is not None:
                try:
                    outcome = await self._document(program)
                    program = outcome.program if isinstance(outcome, Jump) else None
                except (WebhookError, TwimlError) as e:
                    call.exchange.alert(int(e.code or 0), str(e), call.sid)
                    program = self._fallback(fallback, e)
                    if program is None:
                        await self._apologise()
                    fallback = Program()
        except Exception as e:
            call.fail(e)
            raise
        if not call.is_over:
            call.answer()  # hanging up is no refusal: https://www.twilio.com/docs/voice/twiml/hangup
            call.finish("completed")

    async def whisper(self) -> None:
        """Run it to somebody who has been dialled, before they are joined to the caller."""
        call = self.call
        try:
            outcome: Outcome = Jump(self.program)
            while isinstance(outcome, Jump):
                outcome = await self._document(outcome.program)
        except (WebhookError, TwimlError) as e:
            call.exchange.alert(int(e.code or 0), str(e), call.sid)
            outcome = HANG_UP
        if outcome is HANG_UP:
            call.finish("completed")

    async def speak(self, mulaw: bytes, text: str) -> None:
        """Say this to the person, to its end; cut off where this is cancelled."""
        line = self.call.live_line
        now = time.monotonic()
        end = line.announcer.play(mulaw, text, now)
        self.call.news()
        try:
            await asyncio.sleep(end - now)
        except asyncio.CancelledError:
            line.announcer.stop(time.monotonic())
            raise

    # ---- documents -----------------------------------------------------------------------------------------------------

    async def _document(self, program: Program) -> Outcome:
        """Go on with this one: fetch it and run it."""
        self.program = program
        return await self._aside(program)

    async def _aside(self, program: Program) -> Outcome:
        """Fetch it and run it; relative URLs still count from the document that the call is at."""
        return await self._verbs(await self._load(program))

    async def _load(self, program: Program) -> list[Verb]:
        """The program's document. Raises WebhookError, TwimlError."""
        if program.twiml is not None:
            return read_twiml(program.twiml)
        form = self.call.form(**program.form)
        answer = await self.call.ask(program.kind, program.url, program.method, form)
        if not answer.body.strip():
            return []
        if answer.content_type == "text/plain":
            return [Verb("Say", {}, answer.body.strip())]
        if answer.content_type not in _TWIML_TYPES:
            raise TwimlError(12300, f"Invalid Content-Type: {answer.content_type}")
        return read_twiml(answer.body)

    async def _verbs(self, verbs: list[Verb]) -> Outcome:
        """Run them in order. NEXT after the last. Raises WebhookError, TwimlError."""
        for verb in verbs:
            self.call.executed.append(Executed(verb.name, verb.attributes, verb.text, time.monotonic()))
            self.call.news()
            if verb.name not in _NOT_ANSWERING and not (verb.name == "Dial" and verb.flag("answerOnBridge")):
                self.call.answer()
            outcome = await self._run(verb)
            if outcome is not Next.NEXT:
                return outcome
        return Next.NEXT

    def _fallback(self, first: Program, error: WebhookError | TwimlError) -> Program | None:
        if not first.fallback_url:
            return None
        form = {"ErrorCode": str(error.code), "ErrorUrl": self.program.url}
        return Program(first.fallback_url, first.fallback_method, form=form, kind="fallback")

    async def _apologise(self) -> None:
        self.call.answer()
        await self.speak(await self.call.exchange.speech(APPLICATION_ERROR), APPLICATION_ERROR)

    # ---- verbs ---------------------------------------------------------------------------------------------------------

    async def _run(self, verb: Verb) -> Outcome:
        match verb.name:
            case "Say" | "Play" | "Pause":
                return await self._prompt(verb)
            case "Gather":
                return await self._gather(verb)
            case "Record":
                return await self._record(verb)
            case "Connect":
                return await connect(self.call, self.program, verb)
            case "Dial":
                return await dial(
                    self.call, self.program, verb, lambda leg, program: Interpreter(leg, program).whisper()
                )
            case "Enqueue":
                return await enqueue(self.call, self.program, verb, self._aside)
            case "Redirect":
                return self._redirect(verb)
            case "Reject":
                return self._reject(verb)
            case "Leave":
                return LEAVE
        return HANG_UP

    async def _prompt(self, verb: Verb) -> Outcome:
        """Say, Play, Pause."""
        if verb.name == "Pause":
            await asyncio.sleep(verb.number("length", 1))
            return Next.NEXT
        loops = int(verb.number("loop", 1)) or LOOPS_MAX
        line = self.call.live_line
        if verb.name == "Play" and (digits := verb.get("digits")):
            now = time.monotonic()
            try:
                end = line.send_digits(digits, now)
            except MisuseError as e:
                raise TwimlError(12200, f"Schema validation: {e}") from e
            await asyncio.sleep(end - now)
            return Next.NEXT
        sound = await self._sound(verb)
        for _ in range(loops if sound else 0):
            await self.speak(sound, verb.text)
        return Next.NEXT

    async def _sound(self, verb: Verb) -> bytes:
        if verb.name == "Say":
            return await self.call.exchange.speech(verb.text) if verb.text else b""
        url = urljoin(self.program.url, verb.text)
        try:
            wav = await self.call.exchange.webhooks.fetch("media", url, self.call.webhooks)
        except WebhookError as e:
            self.call.exchange.alert(int(e.code or 0), str(e), self.call.sid)
            return b""
        return mulaw_of_wav(wav) or hold_music(UNREADABLE_SOUND_MS)

    async def _gather(self, verb: Verb) -> Outcome:
        keys = _Keys()
        line = self.call.live_line
        line.key_listeners.append(keys.press)
        try:
            await self._until_key(verb, keys)
            digits, finished_by = await self._collect(verb, keys)
        finally:
            line.key_listeners.remove(keys.press)
        if not digits and not verb.flag("actionOnEmptyResult"):
            return Next.NEXT
        form = {"Digits": digits, "FinishedOnKey": finished_by, "msg": "Gather End"}
        return action(self.program, verb, form)

    async def _until_key(self, verb: Verb, keys: _Keys) -> None:
        """Say the prompts; the first key cuts them off."""
        prompts = asyncio.ensure_future(self._verbs(list(verb.children)))
        key = asyncio.ensure_future(keys.any.wait())
        try:
            await asyncio.wait((prompts, key), return_when=asyncio.FIRST_COMPLETED)
            if prompts.done():
                prompts.result()
        finally:
            key.cancel()
            prompts.cancel()
            await asyncio.wait((prompts, key))

    async def _collect(self, verb: Verb, keys: _Keys) -> tuple[str, str]:
        """(digits, the key that ended them or "")"""
        digits = ""
        finish_on = verb.get("finishOnKey", "#")
        most = verb.number("numDigits", float("inf"))
        timeout_s = 5.0 if verb.get("timeout") == "auto" else verb.number("timeout", 5)
        while len(digits) < most:
            try:
                async with asyncio.timeout(timeout_s):
                    key = await keys.pressed.get()
            except TimeoutError:
                break
            if key in finish_on:
                return digits, key
            digits += key
        return digits, ""

    async def _record(self, verb: Verb) -> Outcome:
        call, line = self.call, self.call.live_line
        if verb.get("playBeep", "true") != "false":
            await self.speak(beep(), "")
        keys = _Keys()
        line.key_listeners.append(keys.press)
        started_at, first = time.monotonic(), len(line.spoken)
        try:
            ended_by = await self._until_recorded(verb, keys, started_at)
        except asyncio.CancelledError:  # the person has hung up: the recording is kept, and told of
            recording = self._keep(verb, started_at, bytes(line.spoken[first:]), "hangup")
            if call.is_over:
                tell_action(call, self.program, verb, self._recorded(recording))
            raise
        finally:
            line.key_listeners.remove(keys.press)
        recording = self._keep(verb, started_at, bytes(line.spoken[first:]), ended_by)
        if verb.attributes.get("action") == "":
            return Next.NEXT
        return action(self.program, verb, self._recorded(recording))

    def _recorded(self, recording: Recording) -> dict[str, str]:
        return {
            "RecordingUrl": self.call.recording_url(recording),
            "RecordingSid": recording.sid,
            "RecordingDuration": str(recording.duration_s),
            "Digits": recording.digits,
        }

    async def _until_recorded(self, verb: Verb, keys: _Keys, started_at: float) -> str:
        """Until a key, silence, or the longest time; returns the key, or ""."""
        ends_at = started_at + verb.number("maxLength", 3600)
        silence_s = verb.number("timeout", 5)
        line = self.call.live_line
        loud_at = started_at
        seen = len(line.spoken)
        while (now := time.monotonic()) < min(ends_at, loud_at + silence_s):
            if not keys.pressed.empty() and (key := keys.pressed.get_nowait()) in verb.get(
                "finishOnKey", "1234567890*#"
            ):
                return key
            if bytes(line.spoken[seen:]).strip(b"\xff"):
                loud_at = now
            seen = len(line.spoken)
            await asyncio.sleep(0.02)
        return ""

    def _keep(self, verb: Verb, started_at: float, mulaw: bytes, ended_by: str) -> Recording:
        call = self.call
        recording = Recording(
            call.exchange.new_sid("RE"), call.sid, "RecordVerb", started_at, (mulaw,), digits=ended_by
        )
        call.keep_recording(recording)
        if url := verb.get("recordingStatusCallback"):
            method = verb.get("recordingStatusCallbackMethod", "POST").upper()
            call.tell("recording", urljoin(self.program.url, url), method, call.recording_form(recording))
        return recording

    def _redirect(self, verb: Verb) -> Outcome:
        if not verb.text:
            raise TwimlError(11100, "<Redirect> without a URL")
        url = urljoin(self.program.url, verb.text)
        return Jump(Program(url, verb.get("method", "POST").upper()))

    def _reject(self, verb: Verb) -> Outcome:
        if self.call.answered_at is None:
            self.call.finish("busy" if verb.get("reason") == "busy" else "no-answer")
        return HANG_UP


@dataclass(slots=True)
class _Keys:
    """What is pressed while a verb listens."""

    pressed: asyncio.Queue[Digit] = field(default_factory=asyncio.Queue)
    any: asyncio.Event = field(default_factory=asyncio.Event)

    def press(self, digit: Digit, _now: float) -> None:
        self.pressed.put_nowait(digit)
        self.any.set()


def redirect(call: SimulatedCall, program: Program) -> None:
    """Run this from now on; what runs is ended, as REST's update of a call does."""
    call.start(Interpreter(call, program).run())
