"""The detector against a detector of loudness, whose probability is simply the level of the signal: what a test plays,
it means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.parts import Samples
from realtime_bridge.localmodel.turns import (
    TURN_MS_MAX,
    SpeechPaused,
    SpeechStarted,
    SpeechStopped,
    TurnDetector,
    TurnEvent,
    TurnSettings,
)

WINDOW_MS = 32


class LevelVad:
    window_samples = WINDOW_MS * 8

    def __init__(self) -> None:
        self.resets = 0

    def probability(self, window: Samples) -> float:
        assert window.shape == (self.window_samples,)
        return float(window.mean())

    def reset(self) -> None:
        self.resets += 1


def play(*parts: tuple[float, int]) -> Samples:
    """(level, windows) one after the other."""
    return np.concatenate([np.full(windows * WINDOW_MS * 8, level, np.float32) for level, windows in parts])


def detector(settings: TurnSettings | None = None) -> TurnDetector:
    return TurnDetector(LevelVad(), settings or TurnSettings())


def test_a_turn_begins_with_its_padding_and_ends_with_its_silence():
    events = detector().feed(play((0, 20), (1, 30), (0, 20)))
    assert events == [SpeechStarted(20 * WINDOW_MS - 300), SpeechStopped(50 * WINDOW_MS + 500)]


def test_speech_is_reported_two_windows_after_it_begins():
    ear = detector()
    assert ear.feed(play((0, 20), (1, 1))) == []
    assert ear.feed(play((1, 1))) == [SpeechStarted(20 * WINDOW_MS - 300)]
    assert ear.speaking


def test_the_soft_beginning_of_a_word_belongs_to_the_turn():
    assert detector().feed(play((0, 20), (0.3, 1), (0.8, 1))) == [SpeechStarted(20 * WINDOW_MS - 300)]


def test_padding_never_reaches_before_the_first_sample():
    assert detector().feed(play((0, 2), (1, 3))) == [SpeechStarted(0)]


def test_padding_never_reaches_into_the_turn_before():
    settings = TurnSettings(prefix_padding_ms=1000, silence_duration_ms=96)
    events = detector(settings).feed(play((0, 40), (1, 5), (0, 5), (1, 5), (0, 5)))
    stop, start = events[1:3]
    assert isinstance(stop, SpeechStopped)
    assert start == SpeechStarted(stop.audio_end_ms)


@pytest.mark.parametrize("level", [0.6, 0.99, 1.0])
def test_a_single_loud_window_is_a_click_and_no_turn(level):
    clicks = [(0.0, 10), (level, 1)] * 20
    assert detector().feed(play(*clicks)) == []


def test_a_word_may_grow_softer_than_the_threshold_without_ending():
    events = detector().feed(play((0, 20), (1, 5), (0.4, 40), (1, 5), (0.3, 20)))
    assert events == [SpeechStarted(20 * WINDOW_MS - 300), SpeechStopped(70 * WINDOW_MS + 500)]


def test_what_is_below_the_threshold_starts_nothing():
    assert detector(TurnSettings(threshold=0.8)).feed(play((0, 5), (0.7, 50))) == []


def test_a_pause_shorter_than_the_silence_joins_two_phrases():
    events = detector().feed(play((0, 20), (1, 5), (0, 14), (1, 5), (0, 20)))
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped]


def test_settings_changed_while_someone_speaks_count_at_once():
    ear = detector()
    ear.feed(play((0, 20), (1, 10)))
    ear.settings = TurnSettings(silence_duration_ms=64)
    assert ear.feed(play((0, 2))) == [SpeechStopped(32 * WINDOW_MS)]


def test_with_detection_off_only_time_goes_on():
    vad = LevelVad()
    ear = TurnDetector(vad, TurnSettings())
    ear.feed(play((1, 10)))
    ear.settings = None
    assert not ear.speaking
    assert ear.feed(play((0, 20), (1, 20), (0, 50))) == []
    ear.settings = TurnSettings()
    assert vad.resets == 1
    assert ear.feed(play((0, 20), (1, 5))) == [SpeechStarted(120 * WINDOW_MS - 300)]


def test_a_dropped_turn_starts_again_where_it_was_dropped_if_speech_goes_on():
    ear = detector()
    ear.feed(play((0, 20), (1, 10)))
    ear.drop_turn()
    assert ear.feed(play((1, 5), (0, 20))) == [SpeechStarted(30 * WINDOW_MS), SpeechStopped(35 * WINDOW_MS + 500)]


def test_a_turn_that_never_falls_silent_is_cut():
    windows = TURN_MS_MAX // WINDOW_MS + 100
    ear = detector()
    start, stop, again = ear.feed(play((1, windows)))
    assert (start, again) == (SpeechStarted(0), SpeechStarted(stop.audio_end_ms))
    assert TURN_MS_MAX <= stop.audio_end_ms < TURN_MS_MAX + WINDOW_MS


class TestPauses:
    settings = TurnSettings(silence_duration_ms=4000, pause_ms=200)

    def paused(self) -> tuple[TurnDetector, SpeechPaused]:
        ear = detector(self.settings)
        events = ear.feed(play((0, 20), (1, 10), (0, 7)))
        assert events == [SpeechStarted(340), SpeechPaused(340, 37 * WINDOW_MS)]
        assert isinstance(events[1], SpeechPaused)
        return ear, events[1]

    def test_a_pause_is_reported_once(self):
        ear, _ = self.paused()
        assert ear.feed(play((0, 20))) == []

    def test_a_turn_that_seems_finished_ends_as_soon_as_the_patience_is_over(self):
        ear, pause = self.paused()
        assert ear.wait_for_more(pause, 450) == []
        assert ear.feed(play((0, 7))) == []
        assert ear.feed(play((0, 1))) == [SpeechStopped(30 * WINDOW_MS + 450)]

    def test_it_ends_at_once_when_the_judgement_took_longer_than_the_patience(self):
        ear, pause = self.paused()
        ear.feed(play((0, 20)))
        assert ear.wait_for_more(pause, 450) == [SpeechStopped(30 * WINDOW_MS + 450)]
        assert not ear.speaking

    def test_a_judgement_that_comes_after_the_caller_went_on_changes_nothing(self):
        ear, pause = self.paused()
        ear.feed(play((1, 5)))
        assert ear.wait_for_more(pause, 0) == []
        assert ear.speaking

    def test_patience_is_for_one_pause_and_the_next_is_reported_anew(self):
        ear, pause = self.paused()
        ear.wait_for_more(pause, 450)
        assert ear.feed(play((0, 2), (1, 5), (0, 30))) == [SpeechPaused(340, 51 * WINDOW_MS)]
        assert ear.speaking

    def test_an_unfinished_turn_ends_after_the_maximum(self):
        ear, _ = self.paused()
        assert ear.feed(play((0, 130))) == [SpeechStopped(30 * WINDOW_MS + 4000)]


@pytest.mark.parametrize(
    ("field", "value"),
    [("threshold", -0.1), ("threshold", 1.1), ("prefix_padding_ms", -1), ("silence_duration_ms", -1), ("pause_ms", -1)],
)
def test_settings_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(MisuseError, match=field):
        TurnSettings(**{field: value})


levels = st.sampled_from([0.0, 0.2, 0.3, 0.4, 0.6, 1.0])
audios = st.lists(st.tuples(levels, st.integers(1, 30)), min_size=1, max_size=12).map(lambda parts: play(*parts))
all_settings = st.builds(
    TurnSettings,
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]),
    prefix_padding_ms=st.integers(0, 1000),
    silence_duration_ms=st.integers(0, 1000),
    pause_ms=st.none() | st.integers(0, 600),
)


@given(audio=audios, settings=all_settings, cuts=st.lists(st.integers(1, 3000), max_size=20))
def test_chunk_sizes_change_nothing(audio, settings, cuts):
    whole = detector(settings).feed(audio)
    ear, events, rest = detector(settings), [], audio
    for cut in cuts:
        events += ear.feed(rest[:cut])
        rest = rest[cut:]
    events += ear.feed(rest)
    assert events == whole
    assert ear.audio_ms == audio.size // 8


@given(audio=audios, settings=all_settings)
def test_turns_follow_one_another_and_lie_within_the_audio(audio, settings):
    ear = detector(settings)
    last: type[TurnEvent] = SpeechStopped
    free_from = 0
    for event in ear.feed(audio):
        if isinstance(event, SpeechStarted):
            assert last is SpeechStopped
            assert event.audio_start_ms >= free_from
            free_from = event.audio_start_ms
        elif isinstance(event, SpeechPaused):
            assert last is not SpeechStopped
            assert free_from == event.audio_start_ms < event.audio_end_ms <= ear.audio_ms
        else:
            assert last is not SpeechStopped
            assert free_from < event.audio_end_ms <= ear.audio_ms
            free_from = event.audio_end_ms
        last = type(event)
    assert ear.speaking == (last is not SpeechStopped)
