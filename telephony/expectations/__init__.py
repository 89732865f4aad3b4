"""What a call must have been: tools, words, hand-offs, its end, its pauses. Held against the record of a call. Pure.

failures = check([ToolCalled("find_order", {"order_id": "A1042"}), Said("it was shipped")], record)
"""

from telephony.expectations.arguments import ANYTHING, Argument, Like, Matches, OneOf
from telephony.expectations.checking import Failure, Question, Verdict, check, questions, require_expectations
from telephony.expectations.kinds import (
    AnswerTimes,
    Ended,
    Expectation,
    HandedOff,
    Interruptions,
    NoDeadAir,
    NotHandedOff,
    NotSaid,
    Said,
    ToolCalled,
    ToolNotCalled,
    ToolsInOrder,
)
from telephony.expectations.transcript import transcript

__all__ = [
    "ANYTHING",
    "AnswerTimes",
    "Argument",
    "Ended",
    "Expectation",
    "Failure",
    "HandedOff",
    "Interruptions",
    "Like",
    "Matches",
    "NoDeadAir",
    "NotHandedOff",
    "NotSaid",
    "OneOf",
    "Question",
    "Said",
    "ToolCalled",
    "ToolNotCalled",
    "ToolsInOrder",
    "Verdict",
    "check",
    "questions",
    "require_expectations",
    "transcript",
]
