"""What can be expected of a call, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from realtime_bridge.errors import MisuseError
from telephony.expectations.arguments import Argument, regular_expression
from telephony.expectations.phrases import LIKENESS_MIN, plain_words

# Words that must not be said are found only where they really are.
FORBIDDEN_LIKENESS_MIN = 90.0

Speaker: TypeAlias = Literal["agent", "caller"]


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """A tool was called. `arguments`: those that count, the others are free. `times`: exactly; None: at least once.

    `agent`: who called it. A call that was made and refused (`rejected`) counts, unless `outcome` says otherwise.
    """

    name: str
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    times: int | None = None
    agent: str | None = None
    outcome: Literal["done", "failed", "rejected", "cancelled"] | None = None


@dataclass(frozen=True, slots=True)
class ToolNotCalled:
    """No call of the tool, or none with these arguments."""

    name: str
    arguments: Mapping[str, Argument] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolsInOrder:
    """These tools were called in this order; others may lie between."""

    tools: Sequence[str | ToolCalled]

    def __post_init__(self) -> None:
        if len(self.tools) < 2:
            raise MisuseError("an order needs two tools at least")


@dataclass(frozen=True, slots=True)
class _Words:
    """One of: `text`, found approximately; `pattern`, a regular expression; `meaning`, which a model judges.

    `by`: whose words; `agent`: those of one agent.
    """

    text: str | None = None
    pattern: str | None = None
    meaning: str | None = None
    by: Speaker = "agent"
    agent: str | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.text, self.pattern, self.meaning)) != 1:
            raise MisuseError("words need exactly one of text, pattern and meaning")
        if self.text is not None and not plain_words(self.text):
            raise MisuseError(f"there is no word in {self.text!r}")
        if self.pattern is not None:
            regular_expression(self.pattern)
        if self.agent is not None and self.by == "caller":
            raise MisuseError("callers are no agents: leave `agent` out")


@dataclass(frozen=True, slots=True)
class Said(_Words):
    """The caller heard these words. Words of an agent that were cut before they were heard do not count."""

    likeness_min: float = LIKENESS_MIN


@dataclass(frozen=True, slots=True)
class NotSaid(_Words):
    """The agent never said this, nor was about to when it was interrupted."""

    likeness_min: float = FORBIDDEN_LIKENESS_MIN


@dataclass(frozen=True, slots=True)
class HandedOff:
    """The call reached this agent."""

    to: str
    from_: str | None = None


@dataclass(frozen=True, slots=True)
class NotHandedOff:
    """The call was not handed to this agent; None: to nobody."""

    to: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How the call ended, as its record's `disposition` says it; approximately."""

    disposition: str


@dataclass(frozen=True, slots=True)
class AnswerTimes:
    """From the end of the caller's words to the first sound of the answer: of every turn, and of half of them."""

    max_ms: float | None = None
    p50_ms: float | None = None

    def __post_init__(self) -> None:
        if self.max_ms is None and self.p50_ms is None:
            raise MisuseError("a budget of time needs max_ms, p50_ms or both")


@dataclass(frozen=True, slots=True)
class Interruptions:
    """How often the caller had to talk into the agent's words, or was able to."""

    max: int | None = None
    min: int | None = None

    def __post_init__(self) -> None:
        if self.max is None and self.min is None:
            raise MisuseError("a budget of interruptions needs max, min or both")


@dataclass(frozen=True, slots=True)
class NoDeadAir:
    """Nobody was silent for longer than this, at any time of the call."""

    over_s: float

    def __post_init__(self) -> None:
        if not self.over_s > 0:
            raise MisuseError("dead air is counted in seconds above 0")


Expectation: TypeAlias = (
    ToolCalled
    | ToolNotCalled
    | ToolsInOrder
    | Said
    | NotSaid
    | HandedOff
    | NotHandedOff
    | Ended
    | AnswerTimes
    | Interruptions
    | NoDeadAir
)
