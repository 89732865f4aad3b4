"""REST resources as JSON, in the shapes that Twilio's own packages read.

Source: `twilio/rest/api/v2010/account/` of the `twilio` package.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import urlencode

from telephony.testing.twilio.call import SimulatedCall
from telephony.testing.twilio.exchange import Exchange, Number
from telephony.testing.twilio.records import Alert, Recording

API: Final = "/2010-04-01/Accounts"
PAGE_SIZE: Final = 50
PAGE_SIZE_MAX: Final = 1000


def account_json(exchange: Exchange, created: datetime, *, status: str, trial: bool) -> dict[str, Any]:
    uri = f"{API}/{exchange.account_sid}.json"
    return {
        "sid": exchange.account_sid,
        "friendly_name": "Simulated account",
        "status": status,
        "type": "Trial" if trial else "Full",
        "owner_account_sid": exchange.account_sid,
        "auth_token": "hidden",
        "date_created": format_datetime(created),
        "date_updated": format_datetime(created),
        "uri": uri,
        "subresource_uris": {"calls": f"{API}/{exchange.account_sid}/Calls.json"},
    }


def call_json(call: SimulatedCall) -> dict[str, Any]:
    account = f"{API}/{call.exchange.account_sid}"
    status = "queued" if call.status == "initiated" else call.status  # REST knows no `initiated`
    return {
        "sid": call.sid,
        "account_sid": call.exchange.account_sid,
        "annotation": None,
        "answered_by": call.answered_by or None,
        "api_version": "2010-04-01",
        "caller_name": None,
        "date_created": _date(call.created),
        "date_updated": _date(call.ended or call.started or call.created),
        "direction": call.direction,
        "duration": str(call.duration_s) if call.is_over else None,
        "end_time": _date(call.ended),
        "forwarded_from": None,
        "from": call.from_,
        "from_formatted": call.from_,
        "group_sid": None,
        "parent_call_sid": call.parent.sid if call.parent is not None else None,
        "phone_number_sid": call.number_sid,
        "price": None,
        "price_unit": "USD",
        "queue_time": str(round(call.queue_s * 1000)),
        "start_time": _date(call.started or call.ended),
        "status": status,
        "to": call.to,
        "to_formatted": call.to,
        "trunk_sid": "",
        "uri": f"{account}/Calls/{call.sid}.json",
        "subresource_uris": {"recordings": f"{account}/Calls/{call.sid}/Recordings.json"},
    }


def number_json(exchange: Exchange, number: Number) -> dict[str, Any]:
    return {
        "sid": number.sid,
        "account_sid": exchange.account_sid,
        "friendly_name": number.friendly_name or number.number,
        "phone_number": number.number,
        "capabilities": {"voice": True, "sms": True, "mms": False, "fax": False},
        "voice_url": number.voice_url,
        "voice_method": number.voice_method,
        "voice_fallback_url": number.voice_fallback_url,
        "voice_fallback_method": number.voice_fallback_method,
        "voice_caller_id_lookup": False,
        "voice_application_sid": number.voice_application_sid,
        "trunk_sid": number.trunk_sid,
        "status_callback": number.status_callback,
        "status_callback_method": number.status_callback_method,
        "api_version": "2010-04-01",
        "beta": False,
        "status": "in-use",
        "uri": f"{API}/{exchange.account_sid}/IncomingPhoneNumbers/{number.sid}.json",
    }


def recording_json(exchange: Exchange, recording: Recording) -> dict[str, Any]:
    return {
        "sid": recording.sid,
        "account_sid": exchange.account_sid,
        "call_sid": recording.call_sid,
        "api_version": "2010-04-01",
        "channels": len(recording.mulaw),
        "duration": str(recording.duration_s),
        "source": recording.source,
        "status": recording.status,
        "uri": f"{API}/{exchange.account_sid}/Recordings/{recording.sid}.json",
    }


def notification_json(exchange: Exchange, number: int, alert: Alert) -> dict[str, Any]:
    """An entry of the debugger."""
    at = datetime.now(UTC) - timedelta(seconds=time.monotonic() - alert.at)
    sid = f"NO{number:032x}"
    return {
        "sid": sid,
        "account_sid": exchange.account_sid,
        "api_version": "2010-04-01",
        "call_sid": alert.call_sid,
        "date_created": format_datetime(at),
        "date_updated": format_datetime(at),
        "error_code": str(alert.code),
        "log": "0",
        "message_date": format_datetime(at),
        "message_text": alert.message,
        "more_info": f"https://www.twilio.com/docs/errors/{alert.code}",
        "request_method": None,
        "request_url": "",
        "uri": f"{API}/{exchange.account_sid}/Notifications/{sid}.json",
    }


def page_json(key: str, path: str, query: Mapping[str, str], items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One page of a list; `PageSize` and `Page` of the query say which."""
    size = min(max(_whole(query.get("PageSize"), PAGE_SIZE), 1), PAGE_SIZE_MAX)
    page = max(_whole(query.get("Page"), 0), 0)
    start = page * size
    shown = list(items[start : start + size])

    def uri(number: int) -> str:
        return f"{path}?{urlencode({**query, 'PageSize': str(size), 'Page': str(number)})}"

    return {
        key: shown,
        "page": page,
        "page_size": size,
        "start": start,
        "end": max(start + len(shown) - 1, 0),
        "uri": uri(page),
        "first_page_uri": uri(0),
        "next_page_uri": uri(page + 1) if start + size < len(items) else None,
        "previous_page_uri": uri(page - 1) if page else None,
    }


def _date(at: datetime | None) -> str | None:
    return format_datetime(at) if at is not None else None


def _whole(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdigit() else default
