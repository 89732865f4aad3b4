"""Days and times in what was said: found as a phrase ("tomorrow at half-past three"), and worked out where a tool
wants a date or a time as ISO 8601."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from realtime_bridge.localmodel.brains.words import Utterance

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip

_WEEKDAY = "|".join(WEEKDAYS)
_MONTH = "|".join(MONTHS)
_NTH = r"(?P<{0}>\d{{1,2}})(?:st|nd|rd|th)?"
_DATE = re.compile(
    rf"""\b(?:(?:on|this|for)\ )?(?:
        (?P<iso>\d{{4}}-\d\d-\d\d)
      | (?P<after_tomorrow>(?:the\ )?day\ after\ tomorrow)
      | (?P<relative>today|tonight|tomorrow|yesterday)
      | (?:the\ )?{_NTH.format("day_first")}(?:\ of)?\ (?P<month_second>{_MONTH})(?:\ (?P<year_1>\d{{4}}|20\ \d\d))?
      | (?P<month_first>{_MONTH})\ (?:the\ )?{_NTH.format("day_second")}(?:\ (?P<year_2>\d{{4}}|20\ \d\d))?
      | (?:(?:this|next|coming|the|a)\ )*(?P<weekday>{_WEEKDAY})
      | the\ (?P<day_only>\d{{1,2}})(?:st|nd|rd|th)
      | in\ (?P<count>\d{{1,3}}|a)\ (?P<unit>days?|weeks?)
      | (?P<next_week>next\ week)
      | (?P<slash_1>\d{{1,2}})/(?P<slash_2>\d{{1,2}})(?:/(?P<year_3>\d{{4}}))?
    )\b""",
    re.VERBOSE,
)
_PART = r"am|pm|in\ the\ (?:morning|afternoon|evening)|at\ night|this\ (?:morning|afternoon|evening)"
_TIME = re.compile(
    rf"""\b(?:(?:at|by|around|about|from|before|after|until)\ )?(?:
        (?P<named>noon|midday|midnight)
      | (?P<relation>half\ past|quarter\ past|quarter\ to|(?P<minutes>\d{{1,2}})\ (?:minutes\ )?(?P<side>past|to))
        \ (?P<relation_hour>\d{{1,2}})(?:\ oclock)?(?:\ (?P<part_1>{_PART}))?
      | (?P<hour_c>\d{{1,2}}):(?P<minute_c>\d\d)(?::\d\d)?(?:\ ?(?P<part_2>{_PART}))?
      | (?P<hour_p>\d{{1,2}})(?:\ (?P<minute_p>[0-5]\d))?(?:\ oclock)?\ (?P<part_3>{_PART})
      | (?P<hour_o>\d{{1,2}})\ oclock
      | (?<=at\ )(?P<hour_at>\d{{1,2}})(?:\ (?P<minute_at>[0-5]\d))?(?!\ ?[a-z]*(?:dollar|euro|pound|people|person|percent))
      | (?:in\ the\ |this\ )?(?P<part_alone>morning|afternoon|evening)
    )\b""",
    re.VERBOSE,
)
_LEAD = re.compile(r"^(?:on|at|for|by|around|about|from)\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Moment:
    """A day or a time of day. `span`: its words; `day` and `clock`: worked out, where that can be."""

    span: range
    is_time: bool
    day: date | None = None
    clock: time | None = None


def moments(heard: Utterance, now: datetime) -> list[Moment]:
    """All days and times, in order, none of them overlapping."""
    found = [
        Moment(heard.span(match), is_time=False, day=_day(match, now.date())) for match in _DATE.finditer(heard.line)
    ]
    taken = {word for moment in found for word in moment.span}
    for match in _TIME.finditer(heard.line):
        span = heard.span(match)
        if taken.isdisjoint(span):
            found.append(Moment(span, is_time=True, clock=_clock(match, evening="tonight" in heard.line)))
    return sorted(found, key=lambda moment: moment.span.start)


def as_said(heard: Utterance, chosen: Sequence[Moment]) -> str:
    """The words of these moments, without the preposition before them: one phrase where they stand side by side."""
    phrases: list[range] = []
    for moment in chosen:
        if phrases and moment.span.start - phrases[-1].stop <= 0:
            phrases[-1] = range(phrases[-1].start, moment.span.stop)
        else:
            phrases.append(moment.span)
    return _LEAD.sub("", " ".join(heard.said(span.start, span.stop) for span in phrases), count=1)


def _day(match: re.Match[str], today: date) -> date | None:
    found = match.groupdict()
    if found["iso"]:
        return _calendar(*(int(part) for part in found["iso"].split("-")))
    if found["after_tomorrow"]:
        return today + timedelta(days=2)
    if found["relative"]:
        return today + timedelta(days={"tomorrow": 1, "yesterday": -1}.get(found["relative"], 0))
    if found["weekday"]:
        return today + timedelta(days=(WEEKDAYS.index(found["weekday"]) - today.weekday() - 1) % 7 + 1)
    if found["next_week"]:
        return today + timedelta(days=7)
    if found["count"]:
        count = 1 if found["count"] == "a" else int(found["count"])
        return today + timedelta(days=count * (7 if found["unit"].startswith("week") else 1))
    if found["day_only"]:
        return _coming_day(int(found["day_only"]), today)
    if found["slash_1"]:  # month first, as in the United States
        return _coming(int(found["slash_1"]), int(found["slash_2"]), found["year_3"], today)
    month = MONTHS.index(found["month_first"] or found["month_second"]) + 1
    return _coming(month, int(found["day_first"] or found["day_second"]), found["year_1"] or found["year_2"], today)


def _coming_day(day: int, today: date) -> date | None:
    for months_ahead in range(13):  # a 31st is two months away at most
        month = today.month - 1 + months_ahead
        candidate = _calendar(today.year + month // 12, month % 12 + 1, day)
        if candidate is not None and candidate >= today:
            return candidate
    return None


def _coming(month: int, day: int, year: str | None, today: date) -> date | None:
    if year:
        return _calendar(int(year.replace(" ", "")), month, day)
    this_year = _calendar(today.year, month, day)
    return this_year if this_year and this_year >= today else _calendar(today.year + 1, month, day)


def _calendar(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _clock(match: re.Match[str], *, evening: bool) -> time | None:
    found = match.groupdict()
    if found["named"]:
        return time(0) if found["named"] == "midnight" else time(12)
    part = found["part_1"] or found["part_2"] or found["part_3"] or ("evening" if evening else "")
    minute = 0
    if found["relation"]:
        hour = int(found["relation_hour"])
        offset = {"half past": 30, "quarter past": 15, "quarter to": -15}.get(found["relation"])
        if offset is None:
            offset = int(found["minutes"]) * (1 if found["side"] == "past" else -1)
        hour, minute = (hour - 1) % 24 if offset < 0 else hour, offset % 60
    else:
        hours = [found[name] for name in ("hour_c", "hour_p", "hour_o", "hour_at") if found[name]]
        if not hours:
            return None
        hour = int(hours[0])
        minute = int(found["minute_c"] or found["minute_p"] or found["minute_at"] or 0)
    if hour > 23 or minute > 59:
        return None
    return time(_hour_of_day(hour, part, written=bool(found["hour_c"])), minute)


def _hour_of_day(hour: int, part: str, *, written: bool) -> int:
    if hour > 12:
        return hour
    if part == "am" or "morning" in part:
        return hour % 12
    # Without more, callers mean the hours when shops are open; "07:05" with its nought is the morning.
    afternoon = part != "" or hour == 12 or (hour < 7 and not written)
    return hour % 12 + 12 if afternoon else hour
