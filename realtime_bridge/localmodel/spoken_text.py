"""Text as it is written, made ready for a voice: cut into sentences, and rewritten where a synthesizer reads it wrongly.

Hibari's own rules read money, dates, times and common abbreviations well. They fail on what a phone agent says most:
telephone numbers, codes, addresses of the internet, hours ("0042" becomes "forty-two", "9am-5pm" becomes "nine am
five"). Pure.
"""

# ruff: noqa: RUF001 - typographic quotes and dashes are what language models write
# ruff: noqa: SIM905 - a list of words is read more easily as one text
from __future__ import annotations

import re
import unicodedata

# Longer ones are cut at a comma or a space: the first audio must not wait for a paragraph.
SENTENCE_CHARACTERS_MAX = 250

# Looking back keeps the search linear on a long row of dots.
_SENTENCE_END = re.compile(r"""(?<![.!?…])[.!?…]+["”’')\]]*(?=\s)|\n""")
_CONTEXT_CHARACTERS = 40  # looked at on either side of a full stop
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st mt ft gen gov sen rep capt lt col sgt rev hon no nos vs etc approx ext dept apt fig vol".split()
)
_CLAUSE_END = re.compile(r"[,;:—](?=\s)")


def sentences(text: str) -> list[str]:
    """Cut into sentences, without the white space between them. Joined by spaces they are `text`, but for white space.

    What holds neither letter nor digit (an emoji, a row of dots) stays with its neighbour.
    """
    pieces: list[str] = []
    begin = 0
    for end in _SENTENCE_END.finditer(text):
        if _is_sentence_end(text, end):
            pieces += _within_limit(text[begin : end.end()].strip())
            begin = end.end()
    pieces += _within_limit(text[begin:].strip())
    return _with_neighbours(pieces)


def _is_sentence_end(text: str, end: re.Match[str]) -> bool:
    if end.group() == "\n":
        return True
    following = text[end.end() : end.end() + _CONTEXT_CHARACTERS].lstrip()
    if following[:1].islower():
        return False
    if end.group() != ".":
        return True
    word = re.split(r"[\s(\"“'‘]", text[max(end.start() - _CONTEXT_CHARACTERS, 0) : end.start()])[-1]
    if word.lower() in ("no", "nos", "ext"):  # "No. 5" is a number, "No. Thanks" an answer
        return not following[:1].isdigit()
    return not (word.lower() in _ABBREVIATIONS or (len(word) == 1 and word.isupper() and word != "I"))


def _within_limit(sentence: str) -> list[str]:
    pieces = []
    while len(sentence) > SENTENCE_CHARACTERS_MAX:
        head = sentence[:SENTENCE_CHARACTERS_MAX]
        clause_ends = [clause.end() for clause in _CLAUSE_END.finditer(head)]
        cut = clause_ends[-1] if clause_ends else max(head.rfind(" "), 0) or SENTENCE_CHARACTERS_MAX
        pieces.append(sentence[:cut].rstrip())
        sentence = sentence[cut:].lstrip()
    return [*pieces, sentence]


def _with_neighbours(pieces: list[str]) -> list[str]:
    joined: list[str] = []
    for piece in pieces:
        if joined and not (_has_word(piece) and _has_word(joined[-1])):
            joined[-1] = f"{joined[-1]} {piece}".rstrip()
        elif piece:
            joined.append(piece)
    return joined


def _has_word(piece: str) -> bool:
    return any(character.isalnum() for character in piece)


_LINK = re.compile(r"\b(?:https?://|www\.)\S+[\w/]|\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")
_PHONE = re.compile(
    r"(?<![\w.$€£-])(?:\+\d{1,3}[ .-]?|1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"  # North America
    r"|(?<!\w)\+\d[\d ()-]{6,}\d"  # anywhere else
)
_DIGIT_RUN = re.compile(r"(?<![\w.,:/$€£-])(?:0\d+|\d{4,}(?!000)\d{3})(?![\w,:/-]|\.\d)")
_CODE = re.compile(r"\b(?=[A-Z0-9-]*\d)(?=[A-Z0-9-]*[A-Z])[A-Z0-9]+(?:-[A-Z0-9]+)*\b")
_SPELLED_LETTERS_MAX = 2  # more letters in a row may be a word (COVID-19); hibari itself spells what is none (ORD-7)
_COUNTED_DIGITS_MAX = 4  # "1042" is ten forty-two, longer ones are read digit by digit
_HOURS = re.compile(r"\b(\d{1,2}(?::\d\d)?) ?([ap])\.?m\.? ?[-–] ?(\d{1,2}(?::\d\d)?) ?([ap])\.?m\b\.?", re.IGNORECASE)
_CLOCK_RANGE = re.compile(r"\b(\d{1,2}:\d\d) ?[-–] ?(?=\d{1,2}:\d\d\b)")
_ABBREVIATED = {"No": "Number", "Nos": "Numbers", "Ext": "Extension", "ext": "extension"}
_ABBREVIATED_NUMBER = re.compile(r"\b(No|Nos|Ext|ext)\. ?(?=\d)")
_LINK_SIGNS = {"@": " at ", ".": " dot ", "/": " slash ", "_": " underscore ", "-": " dash ", "+": " plus "}


def as_spoken(sentence: str) -> str:
    """Rewrite what a synthesizer would read wrongly: links, telephone numbers, codes, long numbers, hours.

    Letters and digits in disguise (full-width, circled, of other scripts) become plain ones.
    """
    sentence = unicodedata.normalize("NFKC", sentence).replace("\N{FRACTION SLASH}", "/")
    sentence = "".join(str(unicodedata.digit(sign)) if sign.isdigit() else sign for sign in sentence)
    sentence = _LINK.sub(_spell_link, sentence)
    sentence = _PHONE.sub(_spell_phone, sentence)
    sentence = _ABBREVIATED_NUMBER.sub(lambda short: f"{_ABBREVIATED[short.group(1)]} ", sentence)
    sentence = _HOURS.sub(r"\1 \2.m. to \3 \4.m.", sentence)
    sentence = _CLOCK_RANGE.sub(r"\1 to ", sentence)
    sentence = _DIGIT_RUN.sub(lambda run: _digits(run.group()), sentence)
    return _CODE.sub(_spell_code, sentence)


def _spell_link(link: re.Match[str]) -> str:
    address = re.sub(r"^(?:https?://)?(?:www\.)?", "", link.group()).rstrip("/")
    return re.sub(r"[@./_+-]", lambda sign: _LINK_SIGNS[sign.group()], address)


def _spell_phone(phone: re.Match[str]) -> str:
    groups = re.findall(r"\d+", phone.group())
    plus = "plus " if phone.group().startswith("+") else ""
    return plus + ", ".join(_digits(group) for group in groups)


def _digits(run: str) -> str:
    """Digit by digit, with a breath after every third or fourth."""
    if len(run) <= 4:
        return " ".join(run)
    size = 3 if len(run) % 3 == 0 or len(run) % 4 == 1 else 4
    return ", ".join(" ".join(run[at : at + size]) for at in range(0, len(run), size))


def _spell_code(code: re.Match[str]) -> str:
    return " ".join(_spell_code_part(part) for part in re.findall(r"[A-Z]+|\d+", code.group()))


def _spell_code_part(part: str) -> str:
    if part.isdigit():
        return _digits(part) if part[0] == "0" or len(part) > _COUNTED_DIGITS_MAX else part
    if len(part) > _SPELLED_LETTERS_MAX:
        return part
    return " ".join(f"{letter}." for letter in part)  # the dot keeps a lone A from being an article
