"""What callers say beside their business: greetings, thanks, yes and no, goodbye."""

# ruff: noqa: SIM905 - a list of words is read more easily as one text
from __future__ import annotations

from enum import Enum, auto

from realtime_bridge.localmodel.brains.phrases import Phrase, fit, parse_phrase
from realtime_bridge.localmodel.brains.words import Utterance

WORDS_MAX = 9  # longer utterances are about something
_FIT_MIN = 78.0

_YES = frozenset(
    "yes yeah yep yup yea sure correct right ok okay absolutely definitely exactly certainly please".split()
)
_NO = frozenset("no nope nah not dont never neither".split())


class Talk(Enum):
    HELLO = auto()
    THANKS = auto()
    GOODBYE = auto()
    NEVER_MIND = auto()
    ABILITIES = auto()  # "what can you do?"
    PARDON = auto()  # "can you say that again?"
    UNSURE = auto()
    YES = auto()
    NO = auto()


def _phrases(*texts: str) -> tuple[Phrase, ...]:
    return tuple(parse_phrase(text) for text in texts)


_PHRASES: dict[Talk, tuple[Phrase, ...]] = {
    Talk.GOODBYE: _phrases(
        "goodbye", "bye", "bye bye", "thank you goodbye", "thanks bye", "that is all", "that is all thank you",
        "that will be all", "that was all", "nothing else", "no that is all", "no thank you goodbye", "see you",
        "have a nice day", "good night", "you can hang up now",
    ),
    Talk.THANKS: _phrases("thank you", "thanks", "thank you very much", "thanks a lot", "great thank you", "perfect thanks"),
    Talk.NEVER_MIND: _phrases(
        "never mind", "forget it", "forget about it", "stop", "cancel that", "cancel", "leave it", "i changed my mind",
        "i have changed my mind", "something else",
    ),
    Talk.ABILITIES: _phrases(
        "what can you do", "what can you do for me", "how can you help me", "can you help me", "help", "i need help",
        "what are my options",
    ),
    Talk.PARDON: _phrases(
        "what", "pardon", "sorry", "excuse me", "can you say that again", "can you repeat that", "what did you say",
        "i did not understand", "say that again please",
    ),
    Talk.UNSURE: _phrases("uh", "um", "hmm", "er", "i do not know", "no idea", "i have no idea", "i am not sure", "maybe"),
    Talk.HELLO: _phrases(
        "hello", "hi", "hey", "hello there", "good morning", "good afternoon", "good evening", "hello how are you",
        "hi how are you", "is anybody there", "are you there",
    ),
    Talk.YES: _phrases("yes", "yeah", "yes please", "sure", "okay", "yes i do", "of course", "that is right", "correct"),
    Talk.NO: _phrases("no", "nope", "no thank you", "no thanks", "not really", "i do not", "no i do not", "nothing"),
}  # fmt: skip


def small_talk(heard: Utterance) -> Talk | None:
    """What kind of small talk this is; None for anything else."""
    if not 0 < len(heard.words) <= WORDS_MAX:
        return None
    scores = {
        talk: max(fit(phrase, heard.text).score for phrase in phrases) for talk, phrases in _PHRASES.items()
    }  # ties go to the kind that is listed first
    best = max(scores, key=lambda talk: scores[talk])
    return best if scores[best] >= _FIT_MIN else None


def yes_or_no(heard: Utterance) -> bool | None:
    """The first word that says either decides: "no, please don't", "yes, why not"."""
    for word in heard.words:
        if word.form in _NO:
            return False
        if word.form in _YES:
            return True
    return None
