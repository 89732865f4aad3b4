"""Which calls are recorded, and what their callers are told: by the call's own wish, else the agent's, else the settings'."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from realtime_bridge.tape import TapeKey
from telephony.agents import PhoneAgent
from telephony.call_details import CallDetails
from telephony.word_redaction import WordRedactor

REMEMBERED_MAX: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingPolicy:
    """The settings' part. `notice`: what callers are told first; "" for nothing. `key`: seals all that is recorded."""

    record: bool = True
    notice: str = ""
    redactor: WordRedactor = field(default_factory=WordRedactor)
    key: TapeKey | None = None

    def wants(self, details: CallDetails, agent: PhoneAgent) -> bool:
        """Whoever placed the call knows best, then the agent."""
        if details.record is not None:
            return details.record
        return self.record if agent.record is None else agent.record

    def notice_of(self, agent: PhoneAgent) -> str:
        """ "" for none; "off" says so in settings and agents alike."""
        notice = self.notice if agent.recording_notice is None else agent.recording_notice
        return "" if notice.casefold() == "off" else notice


class EarlierStreams:
    """How the recording of a call's stream ended, for the next one: a call comes back from a transfer, and its caller's
    word holds. Of this process's calls alone; at another one they are asked again."""

    def __init__(self) -> None:
        self._states: OrderedDict[str, str] = OrderedDict()

    def ended(self, call_sid: str, state: str) -> None:
        """`state`: as the desk of its recording had it at the end."""
        self._states[call_sid] = state
        self._states.move_to_end(call_sid)
        if len(self._states) > REMEMBERED_MAX:
            self._states.popitem(last=False)

    def refused(self, call_sid: str) -> bool:
        """The caller, or somebody for them, has ended the recording."""
        return self._states.get(call_sid) in ("stopped", "deleted")

    def were_told(self, call_sid: str) -> bool:
        """The caller knows that the call is recorded."""
        return self._states.get(call_sid) in ("on", "paused")
