"""The transfers of this process that are under way, for the webhooks that Twilio calls about them.

    POST /twilio/transfer/{id}          twiml = transfers.answer(id, form)      (the person has picked up, or pressed a key)
    POST /twilio/transfer/{id}/status   transfers.status(id, form)              (how the call to the person goes)
    POST /twilio/transfer/{id}/after    end = dial_end(form["DialCallStatus"])   (a cold transfer's <Dial> is over)

A caller whom a transfer did not connect comes back in a new stream, where the agent shall know what was said before:
`said_before`.

An id begins with the SID of the caller's call: `call_of(id)`, so that a webhook that arrives at another process can be
given to the one that has the call (`answer` returns None for a transfer that is not here).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from realtime_bridge.session.items import HistoryItem, message
from telephony.steering.control_settings import TransferSettings
from telephony.steering.transfer_twiml import person_declined

TRANSFER_PATH: Final = "/twilio/transfer"
KEPT_MAX: Final = 10_000
TALKS_MAX: Final = 500  # kept for callers who may come back
TALK_ITEMS_MAX: Final = 200


class PendingTransfer(Protocol):
    """A warm transfer whose person is being asked."""

    def picked_up(self) -> str:
        """The person has answered the phone: the TwiML that asks."""
        ...

    def pressed(self, key: str) -> str:
        """The person has pressed this key ("": none). What the person's call does next, as TwiML."""
        ...

    def leg_status(self, status: str) -> None: ...


class Transfers:
    """By id. Methods are synchronous and never raise for what a form holds."""

    def __init__(self) -> None:
        self._pending: dict[str, PendingTransfer] = {}
        self._talks: dict[str, tuple[HistoryItem, ...]] = {}  # call SID -> its messages

    def caller_leaves(self, call_sid: str, history: Iterable[HistoryItem]) -> None:
        """The caller is being passed on; this is what was said so far."""
        self._talks.pop(call_sid, None)
        while len(self._talks) >= TALKS_MAX:
            del self._talks[next(iter(self._talks))]
        said = [message("", item.role, item.text) for item in history if item.role is not None and item.text]
        self._talks[call_sid] = tuple(said[-TALK_ITEMS_MAX:])

    def said_before(self, call_sid: str) -> tuple[HistoryItem, ...]:
        """What was said in this call before its caller was passed on, as messages without ids; told once."""
        return self._talks.pop(call_sid, ())

    def begin(self, call_sid: str, transfer: PendingTransfer) -> str:
        """Its new id, unguessable."""
        transfer_id = f"{call_sid}-{secrets.token_hex(8)}"
        while len(self._pending) >= KEPT_MAX:
            del self._pending[next(iter(self._pending))]
        self._pending[transfer_id] = transfer
        return transfer_id

    def end(self, transfer_id: str) -> None:
        """Nobody needs to be asked any more: webhooks that still come are told that the caller is gone."""
        self._pending.pop(transfer_id, None)

    def answer(self, transfer_id: str, form: Mapping[str, str]) -> str | None:
        """TwiML for the person's call. None: no such transfer is here; say `too_late()` if it is nowhere else."""
        transfer = self._pending.get(transfer_id)
        if transfer is None:
            return None
        return transfer.pressed(form["Digits"]) if "Digits" in form else transfer.picked_up()

    def status(self, transfer_id: str, form: Mapping[str, str]) -> bool:
        """A status callback of the person's call. False: no such transfer is here, which need not be a mistake."""
        transfer = self._pending.get(transfer_id)
        if transfer is not None:
            transfer.leg_status(form.get("CallStatus", ""))
        return transfer is not None

    def __len__(self) -> int:
        return len(self._pending)


def call_of(transfer_id: str) -> str:
    """The caller's call SID; the id may be anything that came in a URL."""
    return transfer_id.partition("-")[0]


def too_late() -> str:
    """TwiML for a person whose transfer is over."""
    return person_declined(TransferSettings())
