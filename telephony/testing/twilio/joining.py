"""The TwiML verbs that connect a call with somebody else: `<Connect><Stream>`, `<Dial>`, `<Enqueue>`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from urllib.parse import urljoin

from realtime_bridge.errors import MisuseError, TransportError
from telephony.testing.twilio.actions import action, tell_action
from telephony.testing.twilio.call import Callback, SimulatedCall
from telephony.testing.twilio.dialling import ring_person
from telephony.testing.twilio.line import join
from telephony.testing.twilio.media import MediaStream
from telephony.testing.twilio.program import LEAVE, NEXT, Jump, Outcome, Program
from telephony.testing.twilio.rooms import Room, WaitingLine
from telephony.testing.twilio.sound import beep, hold_music, ringback, silence
from telephony.testing.twilio.twiml import TwimlError, Verb

MUSIC_S: Final = 60.0  # rendered at a time
BROKEN_STREAM: Final = 31921  # Stream - WebSocket - Close Error
BAD_DIGITS: Final = 13222  # Dial->Number: Invalid sendDigits value

Run: TypeAlias = Callable[[Program], Coroutine[Any, Any, Outcome]]  # a document, on the call itself
Whisper: TypeAlias = Callable[[SimulatedCall, Program], Coroutine[Any, Any, None]]  # to somebody who has been dialled


async def connect(call: SimulatedCall, program: Program, verb: Verb) -> Outcome:
    """`<Connect><Stream>`: until its socket closes, or the call goes on without it."""
    if len(verb.children) != 1:
        raise TwimlError(12200, "<Connect> needs one <Stream>")
    noun = verb.children[0]
    stream = MediaStream(
        noun.get("url").partition("?")[0],  # Twilio drops the query string
        stream_sid=call.exchange.new_sid("MZ"),
        call_sid=call.sid,
        account_sid=call.exchange.account_sid,
        faults=call.exchange.faults,
        complain=lambda code, message: call.exchange.alert(code, message, call.sid),
    )
    call.streams.append(stream)
    parameters = {child.get("name"): child.get("value") for child in noun.children}
    tell = _stream_teller(call, program, noun, stream)
    try:
        await stream.open(call.exchange.webhooks.sign(stream.url), parameters)
    except TransportError as e:
        call.exchange.alert(int(e.code or 0), str(e), call.sid)
        tell("stream-error", str(e))
    else:
        tell("stream-started", "")
        await _carry(call, stream, tell)
    if verb.get("action"):
        return action(program, verb, {})
    return NEXT


async def _carry(call: SimulatedCall, stream: MediaStream, tell: Callable[[str, str], None]) -> None:
    """Join the line to the stream until the stream ends."""
    line = call.live_line
    line.listeners.append(stream.hear)
    line.key_listeners.append(stream.press)
    line.sources.append(stream)
    call.news()
    try:
        await stream.closed.wait()
    finally:
        line.listeners.remove(stream.hear)
        line.key_listeners.remove(stream.press)
        line.sources.remove(stream)
        stream.stop()
        if stream.ending == "broken":
            call.exchange.alert(BROKEN_STREAM, "the stream's socket broke", call.sid)
            tell("stream-error", "the stream's socket broke")
        tell("stream-stopped", "")


def _stream_teller(
    call: SimulatedCall, program: Program, noun: Verb, stream: MediaStream
) -> Callable[[str, str], None]:
    url = noun.get("statusCallback")
    method = noun.get("statusCallbackMethod", "POST").upper()

    def tell(event: str, error: str) -> None:
        if not url:
            return
        form = {
            "AccountSid": call.exchange.account_sid,
            "CallSid": call.sid,
            "StreamSid": stream.stream_sid,
            "StreamName": noun.get("name", stream.stream_sid),
            "StreamEvent": event,
            "Timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            **({"StreamError": error} if error else {}),
        }
        call.tell("stream-status", urljoin(program.url, url), method, form)

    return tell


# ---- Dial ---------------------------------------------------------------------------------------------------------------


async def dial(call: SimulatedCall, program: Program, verb: Verb, whisper: Whisper) -> Outcome:
    """`<Dial>`: numbers, a conference, a queue. Others fail, as clients that are not registered do."""
    nouns = list(verb.children) or [Verb("Number", {}, verb.text)]
    result: dict[str, str] = {"DialCallStatus": "failed"}
    before = len(call.children)
    try:
        if nouns[0].name == "Conference":
            result = await _conference(call, program, verb, nouns[0])
        elif nouns[0].name == "Queue":
            result = await _queue(call, verb, nouns[0])
        elif numbers := [noun for noun in nouns if noun.name == "Number"]:
            result = await _numbers(call, program, verb, numbers, whisper)
    except asyncio.CancelledError:
        # A hang-up or new TwiML ends a <Dial>: its action is requested all the same, and the answer thrown away.
        talked = any(leg.answered_at is not None for leg in call.children[before:]) or nouns[0].name != "Number"
        tell_action(call, program, verb, {"DialCallStatus": "completed" if talked else "canceled"})
        raise
    if verb.get("action"):
        return action(program, verb, result)
    return NEXT


async def _numbers(
    call: SimulatedCall, program: Program, verb: Verb, nouns: list[Verb], whisper: Whisper
) -> dict[str, str]:
    """Ring them all at once; who answers first, and stays after the whisper, is joined to the caller."""
    legs = [_leg(call, program, verb, noun) for noun in nouns]
    stop_ringing = _play(call, ringback) if call.line is not None else None
    answering = {asyncio.ensure_future(_answers(leg, program, verb, noun, whisper)): leg for leg, noun in legs}
    winner: SimulatedCall | None = None
    try:
        waiting = set(answering)
        while waiting and winner is None:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            winner = next((answering[task] for task in done if task.result()), None)
        if stop_ringing is not None:
            stop_ringing()
        others = [leg for leg in answering.values() if leg is not winner]
        for leg in others:
            leg.finish("canceled" if leg.answered_at is None else "completed")
        if winner is None:
            return {"DialCallStatus": others[-1].status, "DialCallSid": others[-1].sid, "DialBridged": "false"}
        call.answer()
        return await _talk(call, winner, verb)
    finally:
        if stop_ringing is not None:
            stop_ringing()
        for task, leg in answering.items():
            task.cancel()
            if not leg.detached:
                leg.finish("canceled" if leg.answered_at is None else "completed")


def _leg(call: SimulatedCall, program: Program, verb: Verb, noun: Verb) -> tuple[SimulatedCall, Verb]:
    number = noun.text
    url = noun.get("statusCallback")
    callback = None
    if url:
        events = frozenset(noun.get("statusCallbackEvent", "completed").split())
        method = noun.get("statusCallbackMethod", "POST").upper()
        callback = Callback(urljoin(program.url, url), method, events)
    leg = SimulatedCall(
        call.exchange,
        call.calls,
        verb.get("callerId") or (call.from_ if call.direction == "inbound" else call.to),
        number,
        "outbound-dial",
        call.exchange.person(number),
        callback=callback,
        parent=call,
    )
    leg.set_status("queued")
    return leg, noun


async def _answers(leg: SimulatedCall, program: Program, verb: Verb, noun: Verb, whisper: Whisper) -> bool:
    """Ring this one; True when they have answered and the whisper has let them through."""
    leg.set_status("initiated")
    if not await ring_person(leg, verb.number("timeout", 30)):
        return False
    if digits := noun.get("sendDigits"):
        now = time.monotonic()
        try:
            await asyncio.sleep(leg.live_line.send_digits(digits, now) - now)
        except MisuseError as e:  # a warning only: they are not sent
            leg.exchange.alert(BAD_DIGITS, str(e), leg.sid)
    if noun.get("url"):
        url = urljoin(program.url, noun.get("url"))
        await _whisper(leg, whisper(leg, Program(url, noun.get("method", "POST").upper(), kind="whisper")))
    return not leg.is_over and not leg.detached


async def _whisper(leg: SimulatedCall, words: Coroutine[Any, Any, None]) -> None:
    """What is said to who answers, before they are joined; if it hangs up, they are not."""
    whispering = asyncio.ensure_future(words)
    forget = leg.at_end(lambda: _cancel(whispering))
    leg.on_redirect = lambda: _cancel(whispering)
    try:
        await asyncio.wait((whispering,))
        if not whispering.cancelled():
            whispering.result()
    finally:
        forget()
        leg.on_redirect = None
        whispering.cancel()


def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()


async def _talk(call: SimulatedCall, leg: SimulatedCall, verb: Verb) -> dict[str, str]:
    """Joined, until one of them leaves."""
    ended = asyncio.Event()
    forget = leg.at_end(ended.set)
    line = call.live_line
    star = _hang_up_on_star(verb, ended)
    line.key_listeners.append(star)
    part = join(line, leg.live_line)
    if leg.is_over:
        ended.set()
    began = time.monotonic()
    leg.on_redirect = ended.set
    call.news()
    try:
        async with asyncio.timeout(verb.number("timeLimit", 14_400)):
            await ended.wait()
    except TimeoutError:
        pass
    finally:
        part()
        leg.on_redirect = None
        forget()
        line.key_listeners.remove(star)
    return {
        "DialCallStatus": "completed",
        "DialCallSid": leg.sid,
        "DialCallDuration": str(max(1, round(time.monotonic() - began))),
        "DialBridged": "true",
    }


# ---- Conference, Queue, Enqueue -----------------------------------------------------------------------------------------


async def _conference(call: SimulatedCall, program: Program, verb: Verb, noun: Verb) -> dict[str, str]:
    """In a room with all who dial its name; hold music until it starts."""
    rooms = call.exchange.rooms
    call.answer()
    room = rooms.get(noun.text)
    if room is None or room.over.is_set():
        room = rooms[noun.text] = Room(noun.text, call.exchange.new_sid("CF"))
    stop_music = _play(call, hold_music if noun.attributes.get("waitUrl") != "" else silence)
    line = call.live_line
    tell = _conference_teller(call, program, noun, room)
    began = time.monotonic()
    if noun.get("beep", "true") not in ("false", "onExit"):
        for other in room.members:
            other.line.announcer.play(beep(), "", began)
    starts = noun.get("startConferenceOnEnter", "true").lower() != "false"
    member = room.enter(call.sid, line, starts=starts, muted=noun.flag("muted"), on_event=tell)
    call.news()
    left = asyncio.Event()
    star = _hang_up_on_star(verb, left)
    line.key_listeners.append(star)
    waits = [asyncio.ensure_future(event.wait()) for event in (room.started, room.over, left)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        stop_music()
        await asyncio.wait(waits[1:], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop_music()
        line.key_listeners.remove(star)
        for wait in waits:
            wait.cancel()
        room.leave(member, ends=noun.flag("endConferenceOnExit"))
    return {
        "DialCallStatus": "completed",
        "ConferenceSid": room.sid,
        "DialCallDuration": str(max(1, round(time.monotonic() - began))),
    }


def _hang_up_on_star(verb: Verb, left: asyncio.Event) -> Callable[[str, float], None]:
    def press(digit: str, _now: float) -> None:
        if digit == "*" and verb.flag("hangupOnStar"):
            left.set()

    return press


def _conference_teller(call: SimulatedCall, program: Program, noun: Verb, room: Room) -> Callable[[str, str], None]:
    url = noun.get("statusCallback")
    events = noun.get("statusCallbackEvent", "start end").split()

    def tell(event: str, call_sid: str) -> None:
        if not url or event.rpartition("-")[2] not in events:
            return
        room.told += 1
        form = {
            "AccountSid": call.exchange.account_sid,
            "CallSid": call_sid,
            "ConferenceSid": room.sid,
            "FriendlyName": room.name,
            "SequenceNumber": str(room.told),
            "StatusCallbackEvent": event,
            "Timestamp": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000"),
        }
        method = noun.get("statusCallbackMethod", "POST").upper()
        call.tell("conference", urljoin(program.url, url), method, form)

    return tell


async def enqueue(call: SimulatedCall, program: Program, verb: Verb, run: Run) -> Outcome:
    """Wait in line, until somebody's `<Dial><Queue>` takes the call, or the waiting TwiML leaves."""
    lines = call.exchange.waiting_lines
    line = lines.setdefault(verb.text, WaitingLine(verb.text, call.exchange.new_sid("QU")))
    entry = line.join(call.sid)
    began = time.monotonic()
    waiting = asyncio.ensure_future(_wait(call, program, verb, line, run))
    taken = asyncio.ensure_future(entry.taken.wait())
    try:
        await asyncio.wait((waiting, taken), return_when=asyncio.FIRST_COMPLETED)
        if not entry.taken.is_set():
            waiting.result()
    except asyncio.CancelledError:
        tell_action(call, program, verb, _left(line, began, "hangup" if call.is_over else "redirected"))
        raise
    finally:
        line.leave(entry)
        for task in (waiting, taken):
            task.cancel()
        await asyncio.wait((waiting, taken))
    if entry.taken.is_set():
        try:
            await entry.done.wait()
        finally:
            entry.done.set()
    if verb.get("action"):
        result = "bridged" if entry.taken.is_set() else "leave"
        return action(program, verb, _left(line, began, result))
    return NEXT


def _left(line: WaitingLine, began: float, result: str) -> dict[str, str]:
    return {"QueueResult": result, "QueueSid": line.sid, "QueueTime": str(round(time.monotonic() - began))}


async def _wait(call: SimulatedCall, program: Program, verb: Verb, line: WaitingLine, run: Run) -> None:
    """What is heard in line: the `waitUrl`'s TwiML, over and over, until it says `<Leave>`; else music."""
    if not verb.get("waitUrl"):
        stop_music = _play(call, hold_music)
        try:
            await asyncio.Event().wait()
        finally:
            stop_music()
    began = time.monotonic()
    url = urljoin(program.url, verb.get("waitUrl"))
    while True:
        form = {"QueueSid": line.sid, "QueueTime": str(round(time.monotonic() - began))}
        outcome: Outcome = Jump(Program(url, verb.get("waitUrlMethod", "POST").upper(), form=form))
        while isinstance(outcome, Jump):
            outcome = await run(outcome.program)
        if outcome is LEAVE:
            return
        await asyncio.sleep(0.02)  # an empty document must not spin


async def _queue(call: SimulatedCall, verb: Verb, noun: Verb) -> dict[str, str]:
    """`<Dial><Queue>`: take the first who waits, or wait for one."""
    lines = call.exchange.waiting_lines
    line = lines.setdefault(noun.text, WaitingLine(noun.text, call.exchange.new_sid("QU")))
    try:
        async with asyncio.timeout(verb.number("timeout", 30)):
            entry = await line.take()
    except TimeoutError:
        return {"DialCallStatus": "no-answer"}
    try:
        return await _talk(call, call.calls[entry.call_sid], verb)
    finally:
        entry.done.set()


def _play(call: SimulatedCall, sound: Callable[[float], bytes]) -> Callable[[], None]:
    """Play this to the person for as long as it takes; returns what ends it."""
    line = call.live_line
    stopped = False

    async def keep_on() -> None:
        while True:
            line.announcer.play(sound(MUSIC_S * 1000), "", time.monotonic())
            await asyncio.sleep(MUSIC_S)

    playing = call.exchange.spawn(keep_on())

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            playing.cancel()
            line.announcer.stop(time.monotonic())

    return stop
