"""TwiML documents, read as strictly as Twilio reads them: the verbs in order, or the error that Twilio would log.

Pure. Sources: https://www.twilio.com/docs/voice/twiml, https://www.twilio.com/docs/api/errors/12100
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Final

from realtime_bridge.errors import ProtocolError

TWIML_CHARS_MAX: Final = 64 * 1024  # https://www.twilio.com/docs/api/errors/11750
TWIML_CHARS_MAX_INLINE: Final = 4000  # of REST's `Twiml`, https://www.twilio.com/docs/voice/api/call-resource

# Verb -> what may stand inside it.
VERBS: Final[dict[str, frozenset[str]]] = {
    "Say": frozenset(),
    "Play": frozenset(),
    "Pause": frozenset(),
    "Gather": frozenset({"Say", "Play", "Pause"}),
    "Connect": frozenset({"Stream"}),
    "Dial": frozenset({"Number", "Conference", "Client", "Queue", "Sip"}),
    "Record": frozenset(),
    "Hangup": frozenset(),
    "Redirect": frozenset(),
    "Reject": frozenset(),
    "Enqueue": frozenset(),
    "Leave": frozenset(),
}
_INNER: Final = {"Stream": frozenset({"Parameter"})}


class TwimlError(ProtocolError):
    """Twilio would not run this. `code`: of its error dictionary."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb, or a noun inside one."""

    name: str
    attributes: dict[str, str]
    text: str
    children: tuple[Verb, ...] = ()

    def get(self, name: str, default: str = "") -> str:
        return self.attributes.get(name, default)

    def number(self, name: str, default: float) -> float:
        """Raises TwimlError when it is none."""
        text = self.attributes.get(name)
        if text is None:
            return default
        try:
            return float(text)
        except ValueError:
            raise TwimlError(12200, f"<{self.name} {name}={text!r}> is no number") from None

    def flag(self, name: str) -> bool:
        return self.get(name).lower() == "true"


def read_twiml(document: str) -> list[Verb]:
    """The verbs of a document. Raises TwimlError."""
    if len(document) > TWIML_CHARS_MAX:
        raise TwimlError(11750, f"the TwiML is longer than {TWIML_CHARS_MAX} characters")
    try:
        root = ET.fromstring(document)  # noqa: S314 - the TwiML comes from the application under test, and is short
    except ET.ParseError as e:
        raise TwimlError(12100, f"Document parse failure: {e}") from e
    if root.tag != "Response":
        raise TwimlError(12100, f"Document parse failure: the root is <{root.tag}>, expected <Response>")
    return [_verb(element, VERBS) for element in root]


def _verb(element: ET.Element, allowed: dict[str, frozenset[str]]) -> Verb:
    if element.tag not in allowed:
        raise TwimlError(12200, f"Schema validation: invalid content was found starting with element '{element.tag}'")
    inner = {name: _INNER.get(name, frozenset[str]()) for name in allowed[element.tag]}
    children = tuple(_verb(child, inner) for child in element)
    return Verb(element.tag, dict(element.attrib), (element.text or "").strip(), children)
