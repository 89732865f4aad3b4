"""A conversation of two minutes on the phone, in which a tool runs and an approval waits for longer than a short-lived model
session lasts; and what its caller noticed, beside the same call on a model that lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from math import inf
from typing import Any

from realtime_bridge import Agent, RealtimeSession, tool
from realtime_bridge.session.events import (
    AudioStart,
    Reconnecting,
    SessionError,
    SessionEvent,
    ToolApprovalRequested,
)
from realtime_bridge.session.items import HistoryItem
from realtime_bridge.transport.model_socket import OpenModel
from telephony.bridge_commands import ToModel
from telephony.playout import BYTES_PER_S
from telephony.stream import PhoneLine
from telephony.testing.result import CallResult
from telephony.testing.script import HangUp, Pause, Say, Step, Until, WaitForAgent
from telephony.transport import TwilioTransport
from telephony.twilio.messages import Media, Start

GREETING = "Good morning, this is the garden shop. How can I help you?"
SCRIPT = f"""
greeting: {GREETING}
fallback: I am sorry, I did not understand that.
threshold: 60
rules:
  - heard: tell me about roses
    say: Roses like the sun. Plant them in autumn, give them plenty of water, and cut them back in spring.
  - heard: tell me about lavender
    say: Lavender likes dry ground. It needs very little water, and bees are fond of it all summer long.
  - heard: tell me about tulips
    say: Tulips are planted before the first frost. They sleep through the winter and come up in April.
  - heard: when are you open
    say: We are open from eight in the morning to six in the evening, and we are closed on Sundays.
  - heard: where is my order
    say: I am looking for your order. Ask me something else while we wait.
    call: find_order
  - after: find_order
    say: Your order has left our house and will be with you on Friday.
  - heard: I want my money back
    say: I have to ask a colleague about that. Ask me something else while we wait.
    call: refund
  - after: refund
    say: My colleague has agreed and your money is on its way.
  - heard: thank you and goodbye
    say: Goodbye, and thank you for calling the garden shop.
"""
SHORT_SCRIPT = """
greeting: Hello there.
rules:
  - heard: where is my order
    say: I am looking.
    call: find_order
  - heard: tell me about roses
    say: Roses like sun and water, and they like a kind word now and then.
  - after: find_order
    say: It is on its way.
  - heard: thank you
    say: Goodbye.
"""
QUESTIONS = ("Tell me about roses.", "Tell me about lavender.", "Tell me about tulips.", "When are you open?")
STRIKES_AFTER_S = 1.0  # of a reply
SPEAKS_WITHIN_MS = 3000.0  # of what a tool has brought
BACK_S_MAX = 3.0  # for a model that is there again to be found and to speak


@dataclass(frozen=True)
class Talk:
    """What the caller says, in order; after `waits_after`, they wait for what the tool or the colleague brings."""

    lines: tuple[str, ...]
    waits_after: frozenset[int]
    work_s: float = 18.0  # how long the tool takes, and the colleague

    def steps(self, speech_of: Callable[[str], bytes], answerer: Answerer) -> list[Step]:
        steps: list[Step] = [WaitForAgent()]
        for number, line in enumerate(self.lines):
            steps.append(Say(speech_of(line), line))
            if number in self.waits_after:
                steps += [
                    Until(lambda: answerer.settled, "done what was asked for", timeout_s=60.0),
                    Pause(SPEAKS_WITHIN_MS),
                ]
            steps.append(WaitForAgent(timeout_s=60.0))
        return [*steps, HangUp()]


TWO_MINUTES = Talk(
    lines=(
        *QUESTIONS,
        *("Where is my order?", *QUESTIONS[:2]),
        *("I want my money back.", *QUESTIONS[2:]),
        *QUESTIONS,
        *QUESTIONS[:2],
        "Thank you and goodbye.",
    ),
    waits_after=frozenset({6, 9}),
)
A_WHILE = Talk(
    lines=("Where is my order?", "Tell me about roses.", "Thank you."), waits_after=frozenset({1}), work_s=6.0
)


class Moments:
    """A `CallTap`: when the caller's audio came and went on to the model, and when the model's came."""

    def __init__(self) -> None:
        self.came: list[tuple[float, float]] = []  # (seconds of the phone's clock, ours)
        self.went: list[float] = []
        self.answered: list[float] = []

    def bridge_made(self, bridge: Any) -> None: ...
    def phone_message(self, message: Any, frame: bytes, now: float) -> None:
        if isinstance(message, Media):
            self.came.append((message.timestamp_ms / 1000 + len(message.mulaw) / BYTES_PER_S, now))

    def model_frame(self, frame: bytes, now: float) -> None:
        if b'"response.output_audio.delta"' in frame[:200]:
            self.answered.append(now)

    def command(self, command: Any, now: float) -> None:
        if isinstance(command, ToModel) and b'"input_audio_buffer.append"' in command.frame[:100]:
            self.went.append(now)

    def program_input(self, event: Any, now: float) -> None: ...
    def played(self, spans: Any, round_trip_ms: float) -> None: ...

    def model_took_ms(self, said_end: float) -> float:
        """From the moment the model had been given all of this utterance to its first audio."""
        given = next(at for until, at in self.came if until >= said_end)
        given = next(at for at in self.went if at >= given)
        return (next((at for at in self.answered if at > given), inf) - given) * 1000


@dataclass
class Answerer:
    """Answers one call with the garden shop's agent, and keeps what happens. `answer` is an `AnswerCall`."""

    open_model: OpenModel
    talk: Talk = TWO_MINUTES
    options: dict[str, Any] = field(default_factory=dict)  # of the session
    strike: Callable[[], Awaitable[None]] | None = None  # done in the middle of a reply, while something is waited for
    struck: list[float] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    changes: list[tuple[float, bool]] = field(default_factory=list)  # of the model session: when, planned or not
    errors: list[str] = field(default_factory=list)
    pending: list[tuple[float, float]] = field(default_factory=list)  # when a tool or an approval was waited for
    history: tuple[HistoryItem, ...] = ()
    moments: Moments = field(default_factory=Moments)

    def answer(self, start: Start, line: PhoneLine) -> TwilioTransport:
        self._loop = asyncio.get_running_loop()
        self.began = self._loop.time()
        self._speaks = asyncio.Event()
        self._striking: asyncio.Task[None] | None = None
        transport = TwilioTransport(start, line, open_model=self.open_model, tap=self.moments)
        self._call = self._loop.create_task(self._serve(transport))
        return transport

    async def done(self) -> None:
        await self._call

    def agent(self) -> Agent:
        @tool
        async def find_order() -> str:
            """Where the caller's order is."""
            self.runs.append("find_order")
            await self._work()
            return "on its way"

        @tool(needs_approval=True)
        async def refund() -> str:
            """Give the money back."""
            self.runs.append("refund")
            return "agreed"

        return Agent("Garden shop", "Be kind.", tools=[find_order, refund])

    async def _serve(self, transport: TwilioTransport) -> None:
        options = {"greeting": True, **self.options}
        async with RealtimeSession(self.agent(), transport=transport, **options) as session:
            self._session, colleagues = session, []
            async for event in session:
                self._note(event)
                if isinstance(event, ToolApprovalRequested):
                    self.asked.append(event.request.tool)
                    colleagues.append(asyncio.create_task(self._approve(session, event)))
        await asyncio.gather(*colleagues)
        self.history = session.history

    async def _approve(self, session: RealtimeSession, event: ToolApprovalRequested) -> None:
        await self._work()
        await session.approve(event.request)

    async def _work(self) -> None:
        since = self._now()
        if self.strike is not None:
            self._striking = asyncio.create_task(self._strike(self.strike))
        await asyncio.sleep(self.talk.work_s)
        self.pending.append((since, self._now()))

    async def _strike(self, strike: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(self.talk.work_s / 3)
        self._speaks.clear()
        await self._speaks.wait()
        await asyncio.sleep(STRIKES_AFTER_S)
        self.struck.append(self._now())
        await strike()
        await asyncio.sleep(BACK_S_MAX)

    def _note(self, event: SessionEvent) -> None:
        if isinstance(event, AudioStart):
            self._speaks.set()
        if isinstance(event, Reconnecting):
            self.changes.append((self._now(), event.planned))
        elif isinstance(event, SessionError) and event.level == "error":
            self.errors.append(event.message)

    def _now(self) -> float:
        """Seconds since the call was answered."""
        return self._loop.time() - self.began

    @property
    def settled(self) -> bool:
        """Nothing is waited for; nor is a model that was killed."""
        waits = self.runs and not any(
            item.output is None for item in self._session.history if item.type == "function_call"
        )
        return bool(waits) and (self._striking is None or self._striking.done())

    @property
    def spanned(self) -> list[int]:
        """Of each wait for a tool or an approval, how many changes of the model session it outlived."""
        return [sum(since < at < until for at, _ in self.changes) for since, until in self.pending]

    @property
    def said(self) -> list[tuple[str, str]]:
        """(role, words) of the history's messages; what one side says in several pieces is one."""
        messages = [(item.role or "", item.text) for item in self.history if item.type == "message"]
        turns = groupby(messages, key=lambda message: message[0])
        return [(role, " ".join(words for _, words in pieces)) for role, pieces in turns]


def silences_ms(result: CallResult) -> list[list[float]]:
    """For the greeting, and for each thing the caller says: how long the agent was silent before and inside her answer."""
    ends = [0.0, *(said.end for said in result.said)]
    starts = [*(said.start for said in result.said), result.seconds]
    return [list(_silences(result, end, start)) for end, start in zip(ends, starts, strict=True)]


def _silences(result: CallResult, since: float, until: float) -> Iterator[float]:
    spans = [(since, since), *((span.start, span.end) for span in result.audible if since <= span.start < until)]
    for (_, end), (start, _) in pairwise(spans):
        yield (start - end) * 1000


def extra_silence_ms(result: CallResult, undisturbed: CallResult) -> list[float]:
    """For each answer: by how much a silence before or inside it exceeds that of the undisturbed call. Where the agent
    spoke in another number of pieces, the longest silences are compared."""
    return [
        max((a - b for a, b in zip(ours, theirs, strict=True)), default=0.0)
        if len(ours) == len(theirs)
        else max(ours, default=inf) - max(theirs, default=0.0)
        for ours, theirs in zip(silences_ms(result), silences_ms(undisturbed), strict=True)
    ]


def ours_ms(result: CallResult, answerer: Answerer) -> list[float]:
    """Of each answer's delay, as heard on the phone, what was not the model's own."""
    delays = result.answer_delays_ms()
    took = [answerer.moments.model_took_ms(said.end) for said in result.said]
    return [delay - model for delay, model in zip(delays, took, strict=True)]
