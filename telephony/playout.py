"""The playout ledger: which of the model's audio is queued, sent and heard, to the millisecond.

Why it exists: a phone plays audio long after it was sent, and a barge-in must be answered by a truncate at what the
caller really heard. Nobody tells us that instant; it has to be inferred.

How it works. The phone's buffer is modelled on the timeline of *our sending*: audio sent at t to an empty buffer starts
at t; audio sent to a full one starts when the buffer runs out. A constant one-way delay cancels out, because the `clear`
that ends the playing takes the same way as the audio did. Unbroken audio forms a `_Run`: one start, then a clock.

What the clock cannot know (jitter on the way of a run's first audio, a buffer that ran dry, a drifting phone) shows in
marks. A mark's `lateness` is the time of its echo less the time the clock expected its place to be passed. Averaged over
the call that is the round trip; what the marks of one run exceed it by is how much later than the clock that run plays:
its `shift`. A mark that should have been echoed by now and was not bounds the position from above, an echoed one from
below. Marks that a `clear` throws away are echoed too, and say nothing about playing.

Pure: the time is an argument (seconds, any monotonic clock), audio is counted in bytes of G.711 (8 to the millisecond).

Source: Twilio, "Media Streams - WebSocket Messages": media is buffered and played in order; a mark comes back when the
audio sent before it has been played, at once if none is buffered, and when `clear` empties the buffer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

import msgspec

from realtime_bridge.errors import InternalError

BYTES_PER_MS = 8
BYTES_PER_S = 8000

# A mark costs two small frames. The first ones of a run tell how late it started, the others watch for gaps and drift:
# closely on a network that jitters, where each of them is worth less.
EARLY_MARKS = 5
EARLY_MARK_BYTES = 40 * BYTES_PER_MS
MARK_BYTES = 200 * BYTES_PER_MS
MARK_BYTES_IN_JITTER = 60 * BYTES_PER_MS
JITTER_S = 0.004  # what one way of the network strays from its mean, to be said to jitter

ROUND_TRIPS_KEPT = 96  # samples of the round trip, whose middle half is the call's average
LATENESS_KEPT = 16  # samples of one run that form its shift
JUMP_S = 0.045  # a run that is suddenly this much later or earlier is judged by its newest mark alone
RUN_GAP_S = 0.015  # audio that comes this long after the buffer must have run dry begins a new run
OVERDUE_S = 0.020  # a mark this much later than the slowest so far has not been passed yet
SETTLE_S = 1.0  # spans this old are final: the marks about them are back
SETTLE_EVERY_S = 0.25
SPANS_KEPT = 4096  # for whoever takes them; the oldest go when nobody does
SEAM_S = 0.020  # a span that starts this near to the end of the one before follows it without a seam
TICK_S = 0.001
ROUNDING = 1e-3  # bytes: 0.4 s are 3,200 bytes, though 1.4 - 1.0 is a little less
EARLIEST_S = 0.050  # no run plays this much before the clock: its audio had not arrived


class ItemKey(msgspec.Struct, frozen=True):
    """One audio part of one assistant item."""

    response_id: str
    item_id: str
    content_index: int


class ItemPlayout(msgspec.Struct, frozen=True, kw_only=True):
    """Where one item stands, in milliseconds of its own audio (padding excluded): heard <= sent <= audio."""

    key: ItemKey
    audio_ms: float  # received from the model
    sent_ms: float  # given to the phone
    heard_ms: float  # played to the caller
    complete: bool  # the model has sent all of it

    @property
    def wholly_heard(self) -> bool:
        return self.complete and self.heard_ms >= self.audio_ms


class PlayedSpan(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes [wire_start, wire_end) of all audio ever sent, of one item, were played from `played_at` on (timeline of our
    sending)."""

    key: ItemKey
    wire_start: int
    wire_end: int
    played_at: float


@dataclass(slots=True, eq=False)
class _Item:
    key: ItemKey
    audio_bytes: int = 0
    sent_bytes: int = 0
    heard_bytes: int = 0  # in segments that have been forgotten
    complete: bool = False
    started: bool = False


@dataclass(slots=True, eq=False)
class _Segment:
    """A stretch of the wire that belongs to one item."""

    wire_start: int
    wire_end: int
    item: _Item
    item_start: int  # bytes of the item sent before this segment


@dataclass(slots=True, eq=False)
class _Run:
    """Audio that the phone plays without a break, as far as we know."""

    starts_at: float  # by the clock alone
    wire_start: int
    wire_end: int
    marks: int = 0
    echoes: int = 0
    shift: float = 0.0  # how much later than the clock it plays
    lateness: deque[float] = field(default_factory=lambda: deque(maxlen=LATENESS_KEPT))

    @property
    def clock_end(self) -> float:
        return self.starts_at + (self.wire_end - self.wire_start) / BYTES_PER_S

    def clock_at(self, wire: int) -> float:
        return self.starts_at + (wire - self.wire_start) / BYTES_PER_S

    def delay(self, gap: float, later: float) -> None:
        """The clock starts `gap` later, since by it the buffer was dry that long; the run itself plays `later`."""
        self.starts_at += gap
        self.shift += later - gap
        for i, late in enumerate(self.lateness):
            self.lateness[i] = late + later - gap


@dataclass(slots=True, eq=False)
class _Mark:
    wire: int
    expected_at: float  # when the clock alone expects its place to be passed
    run: _Run | None  # None: sent while nothing was buffered


class PlayoutLedger:
    """The books of one media stream. Memory is bounded by what the phone has buffered, not by the length of the call."""

    def __init__(self) -> None:
        self._wire = 0  # bytes sent since the stream began
        self._floor = 0  # all before this is over: heard for certain, or thrown away
        self._items: dict[ItemKey, _Item] = {}  # not wholly heard yet, in order
        self._segments: deque[_Segment] = deque()
        self._runs: deque[_Run] = deque()
        self._marks: dict[str, _Mark] = {}  # sent and not echoed, in order
        self._mark_count = 0
        self._next_mark_wire = EARLY_MARK_BYTES
        self._marked_wire = 0
        self._round_trips: deque[float] = deque(maxlen=ROUND_TRIPS_KEPT)
        self._round_trip_s = 0.0
        self._jitter_s = 0.0  # how far one way of the network strays from its mean, to either side
        self._spans: deque[PlayedSpan] = deque(maxlen=SPANS_KEPT)
        self._span_wire = 0  # all before this is in a span, or will never be played
        self._span_ends_at = -inf
        self._settled_at = -inf

    # ---- audio and marks, as they happen -----------------------------------------------------------------------------

    def received(self, key: ItemKey, audio_bytes: int) -> None:
        """The model sent audio of this item, worth `audio_bytes` on the phone."""
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = _Item(key)
        item.audio_bytes += audio_bytes

    def completed(self, key: ItemKey) -> None:
        """The model will send no more audio of this item."""
        if item := self._items.get(key):
            item.complete = True

    def abandoned(self, response_id: str) -> None:
        """Nothing more of this response will be sent: what its items have sent is all there is to hear."""
        for item in list(self._items.values()):
            if item.key.response_id == response_id:
                item.complete = True
                item.audio_bytes = item.sent_bytes
                if not item.sent_bytes:
                    del self._items[item.key]

    def sent(self, key: ItemKey, wire_bytes: int, now: float) -> None:
        """Audio of an item went to the phone; what exceeds the item's own audio is padding at its end."""
        if wire_bytes <= 0:
            raise InternalError(f"{wire_bytes} bytes cannot have been sent")
        run = self._run_for(now)
        item = self._items[key]
        last = self._segments[-1] if self._segments else None
        if last is not None and last.item is item and last.wire_end == self._wire:
            last.wire_end += wire_bytes
        else:
            self._segments.append(_Segment(self._wire, self._wire + wire_bytes, item, item.sent_bytes))
        item.sent_bytes += wire_bytes
        self._wire += wire_bytes
        run.wire_end = self._wire

    def _playing(self, now: float) -> _Run | None:
        """The run that audio sent now would continue, if the phone's buffer is not dry."""
        run = self._runs[-1] if self._runs else None
        return None if run is None or now > run.clock_end + run.shift + RUN_GAP_S else run

    def _run_for(self, now: float) -> _Run:
        """The run that audio sent now belongs to, its shift foretold for this audio."""
        run = self._playing(now)
        if run is None:
            run = _Run(now, self._wire, self._wire)
            self._runs.append(run)
            self._next_mark_wire = self._wire + EARLY_MARK_BYTES
            return run
        ahead = run.clock_end + run.shift - now  # audio the phone still has when this is sent
        if ahead < self._jitter_s:
            run.delay(max(0.0, now - run.clock_end), self._start_after(ahead) - ahead)
        return run

    def _start_after(self, ahead: float) -> float:
        """When audio is likely to start, after it is sent to a phone that has `ahead` seconds left to play.

        It starts when it has arrived and the rest is over: the mean of max(ahead, jitter), jitter even in +-h.
        """
        h = self._jitter_s
        return (ahead + h) ** 2 / (4 * h) if ahead > -h else 0.0

    def bytes_until_mark(self, now: float) -> int:
        """How much audio may go out, from now on, before the next mark is due. At least 1."""
        return EARLY_MARK_BYTES if self._playing(now) is None else max(1, self._next_mark_wire - self._wire)

    @property
    def mark_is_due(self) -> bool:
        return self._wire >= self._next_mark_wire

    @property
    def ends_in_mark(self) -> bool:
        """True when a mark stands behind all audio sent."""
        return self._marked_wire == self._wire

    def mark_sent(self, now: float) -> str:
        """A mark goes out now, behind everything sent so far. Returns its name, unique in the stream."""
        self._mark_count += 1
        name = f"m{self._mark_count}"
        self._marked_wire = self._wire
        run = self._playing(now)
        if run is None:
            self._marks[name] = _Mark(self._wire, now, None)
            return name
        run.marks += 1
        self._marks[name] = _Mark(self._wire, run.clock_end, run)
        step = MARK_BYTES_IN_JITTER if self.jitters else MARK_BYTES
        self._next_mark_wire = self._wire + (EARLY_MARK_BYTES if run.marks < EARLY_MARKS else step)
        return name

    def mark_echoed(self, name: str, now: float) -> bool:
        """A mark came back. True: its place was played. False: a clear threw it away, or nobody sent it."""
        mark = self._marks.get(name)
        if mark is None:
            return False
        # Echoes come in order, so marks before this one that have not come back never will.
        for older in list(self._marks):
            del self._marks[older]
            if older == name:
                break
        self._floor = max(self._floor, mark.wire)
        late = now - mark.expected_at
        if mark.run is None:
            self._learn_round_trip(late)
        else:
            self._learn_shift(mark.run, late)
        return True

    def clear(self, now: float) -> tuple[ItemPlayout, ...]:
        """A `clear` goes out now: what is unheard is thrown away. Returns each item that was not wholly heard, in order.

        Items are forgotten by this; audio that the model still sends of them must not reach the ledger.
        """
        heard = self.heard_wire(now)
        cut = tuple(p for p in self._playouts(heard) if not p.wholly_heard)
        self._report_spans(heard)
        self._marks.clear()  # their echoes find no mark and say nothing
        self._runs.clear()
        self._segments.clear()
        self._items.clear()
        self._floor = self._span_wire = self._wire
        self._next_mark_wire = self._wire + EARLY_MARK_BYTES
        return cut

    # ---- what is known ---------------------------------------------------------------------------------------------

    @property
    def round_trip_ms(self) -> float:
        """Average time from the phone to us and back, from marks; 0 before the first."""
        return self._round_trip_s * 1000

    @property
    def jitters(self) -> bool:
        """True when the round trip varies enough to blur what is known of the phone."""
        return self._jitter_s > JITTER_S

    @property
    def sent_wire(self) -> int:
        """Bytes sent to the phone since the stream began."""
        return self._wire

    def heard_wire(self, now: float) -> int:
        """How many of all bytes ever sent are over: heard, or thrown away by an earlier clear."""
        return self._heard(self._timeline(now), now)

    def unplayed_ms(self, now: float) -> float:
        """Audio sent to the phone that the caller has yet to hear."""
        return (self._wire - self.heard_wire(now)) / BYTES_PER_MS

    def plays_until(self, now: float) -> float:
        """When the phone will have played everything sent so far (`now` if it has)."""
        ends = [starts_at + (run.wire_end - run.wire_start) / BYTES_PER_S for run, starts_at in self._timeline(now)]
        return max([now, *ends])

    def items(self, now: float) -> tuple[ItemPlayout, ...]:
        """Every item not wholly heard, in order."""
        return tuple(self._playouts(self.heard_wire(now)))

    def advance(self, now: float) -> list[ItemKey | ItemPlayout]:
        """What has changed for the caller since the last call, in order; each is told once.

        A key: the caller has begun to hear this item. A playout: the caller has heard it to its end.
        """
        heard = self.heard_wire(now)
        reached = {segment.item.key for segment in self._segments if heard > segment.wire_start}
        changes: list[ItemKey | ItemPlayout] = []
        for playout in list(self._playouts(heard)):
            item = self._items[playout.key]
            if not item.started and playout.key in reached:
                item.started = True
                changes.append(playout.key)
            if playout.wholly_heard:
                changes.append(playout)
                del self._items[playout.key]
        self._settle(now)
        return changes

    def next_change_at(self, now: float) -> float:
        """When `advance` should be called next: the caller begins or ends to hear some item. Later than now.

        Infinite when nothing is unheard.
        """
        timeline = self._timeline(now)
        heard = self._heard(timeline, now)
        for segment in self._segments:
            if not segment.item.started:
                return max(now, _played_at(segment.wire_start, timeline)) + TICK_S
            if segment.wire_end > heard:
                return max(now, _played_at(segment.wire_end, timeline)) + TICK_S
        return now + TICK_S if any(p.wholly_heard for p in self._playouts(heard)) else inf

    def take_played(self, now: float, *, final: bool = False) -> list[PlayedSpan]:
        """Spans that were played and whose time is settled, in order; each is returned once.

        `final`: the stream is over, so all that was played up to now is settled.
        """
        self._report_spans(self.heard_wire(now if final else now - SETTLE_S))
        spans = list(self._spans)
        self._spans.clear()
        return spans

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _timeline(self, now: float) -> list[tuple[_Run, float]]:
        """Each run with the time it really starts: clock, corrected by marks, never before the run before it ends."""
        oldest = next(iter(self._marks.values()), None)
        timeline = []
        ends_at = -inf
        for run in self._runs:
            shift = run.shift
            if oldest is not None and oldest.run is run and self._round_trips:
                # Not back although the slowest echo so far would be: its place has not been passed yet.
                slowest = max(*self._round_trips, max(run.lateness, default=0.0))
                shift = max(shift, now - oldest.expected_at - slowest - OVERDUE_S)
            starts_at = max(run.starts_at + shift, ends_at)
            ends_at = starts_at + (run.wire_end - run.wire_start) / BYTES_PER_S
            timeline.append((run, starts_at))
        return timeline

    def _heard(self, timeline: Iterable[tuple[_Run, float]], now: float) -> int:
        heard = self._floor
        for run, starts_at in timeline:
            played = int((now - starts_at) * BYTES_PER_S + ROUNDING)
            if played > 0:
                heard = max(heard, min(run.wire_start + played, run.wire_end))
        return heard

    def _playouts(self, heard: int) -> Iterable[ItemPlayout]:
        in_segments: dict[ItemKey, int] = {}
        for segment in self._segments:
            if heard > segment.wire_start:
                in_segments[segment.item.key] = segment.item_start + min(heard, segment.wire_end) - segment.wire_start
        for key, item in self._items.items():
            # The filter's tail at an item's end may be a little longer than the item: never claim more than it has.
            sent = min(item.sent_bytes, item.audio_bytes)
            yield ItemPlayout(
                key=key,
                audio_ms=item.audio_bytes / BYTES_PER_MS,
                sent_ms=sent / BYTES_PER_MS,
                heard_ms=min(in_segments.get(key, item.heard_bytes), sent) / BYTES_PER_MS,
                complete=item.complete,
            )

    def _settle(self, now: float) -> None:
        """Forget segments and runs that were over some time ago. Now and then is enough."""
        if now < self._settled_at + SETTLE_EVERY_S:
            return
        self._settled_at = now
        self._report_spans(self.heard_wire(now - SETTLE_S))
        while self._segments and self._segments[0].wire_end <= self._span_wire:
            segment = self._segments.popleft()
            segment.item.heard_bytes = segment.item_start + segment.wire_end - segment.wire_start
        while len(self._runs) > 1 and self._runs[0].wire_end <= min(self._floor, self._span_wire):
            self._runs.popleft()

    def _learn_round_trip(self, sample: float) -> None:
        self._round_trips.append(sample)
        ranked = sorted(self._round_trips)
        cut = len(ranked) // 4
        middle = ranked[cut : len(ranked) - cut]
        self._round_trip_s = sum(middle) / len(middle)
        # Two ways of even jitter +-h add up to a triangle, whose middle half is 1.17 h wide.
        self._jitter_s = (middle[-1] - middle[0]) / 1.17

    def _learn_shift(self, run: _Run, late: float) -> None:
        if run.lateness and abs(late - sum(run.lateness) / len(run.lateness)) > JUMP_S:
            run.lateness.clear()
        run.lateness.append(late)
        run.echoes += 1
        if run.echoes == 1:
            self._learn_round_trip(late)
        n = len(run.lateness)
        shift = sum(run.lateness) / n - self._round_trip_s
        # A run's start and an echo's way vary alike, so a few marks tell only n/(n+1) of the difference; a gap tells all.
        run.shift = max(shift if abs(shift) > JUMP_S else shift * n / (n + 1), -EARLIEST_S)

    def _report_spans(self, until: int) -> None:
        """Put all that was played up to the place `until` into spans, as the runs stand now."""
        for run in self._runs:
            start, end = max(self._span_wire, run.wire_start), min(until, run.wire_end)
            if end <= start:
                continue
            at = run.clock_at(start) + run.shift
            if at < self._span_ends_at + SEAM_S:
                at = self._span_ends_at
            for segment in self._segments:
                first, last = max(start, segment.wire_start), min(end, segment.wire_end)
                if last > first:
                    played_at = at + (first - start) / BYTES_PER_S
                    span = PlayedSpan(key=segment.item.key, wire_start=first, wire_end=last, played_at=played_at)
                    self._spans.append(span)
            self._span_wire, self._span_ends_at = end, at + (end - start) / BYTES_PER_S


def _played_at(wire: int, timeline: Iterable[tuple[_Run, float]]) -> float:
    """When this place is passed; places before the first run are long past."""
    at = -inf
    for run, starts_at in timeline:
        if wire >= run.wire_start:
            at = starts_at + (min(wire, run.wire_end) - run.wire_start) / BYTES_PER_S
    return at
