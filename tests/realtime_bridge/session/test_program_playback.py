from realtime_bridge.session.holdback import AudioHold
from realtime_bridge.session.playback import ProgramPlayback

A, B = ("a", 0), ("b", 0)


def test_items_play_one_after_the_other_in_real_time():
    playback = ProgramPlayback()
    assert playback.received(A, "r", 400, now=10.0)
    assert not playback.received(A, "r", 1000, now=10.1)
    assert playback.received(B, "r", 500, now=10.2)
    cuts = playback.interrupt(now=11.2)
    assert [(c.item_id, c.heard_ms, c.audio_ms) for c in cuts] == [("b", 200, 500)]
    assert playback.interrupt(now=11.3) == ()


def test_what_has_been_played_is_told_once_its_response_is_over():
    playback = ProgramPlayback()
    playback.received(A, "r", 1000, now=10.0)
    assert playback.next_deadline(10.0) == 11.0
    assert playback.finished(11.0, growing="r") == []
    assert playback.finished(11.0, growing=None) == [(A, "r", 1000)]
    assert playback.finished(12.0, growing=None) == []


def test_a_program_that_knows_better_is_believed():
    playback = ProgramPlayback()
    playback.received(A, "r", 1000, now=10.0)
    playback.reported(A, 300)
    playback.reported(B, 100)
    (cut,) = playback.interrupt(now=10.9)
    assert cut.heard_ms == 300
    playback.received(A, "r", 1000, now=20.0)
    playback.reported(A, 5000)
    assert playback.interrupt(now=20.1) == (), "nobody hears more than there is"


def test_audio_waits_until_it_is_released():
    hold = AudioHold(1.0)
    assert hold.push(A, "r", 200, "a1", now=0.0) == []
    assert hold.push(A, "r", 400, "a2", now=0.1) == []
    assert hold.release(A, 200, now=0.2) == ["a1"]
    assert hold.push(B, "r", 200, "b1", now=0.3) == []
    assert hold.release(B, None, now=0.4) == [], "what waits makes what is behind it wait"
    assert hold.release(A, None, now=0.5) == ["a2", "b1"]
    assert hold.push(A, "r", 600, "a3", now=0.6) == ["a3"]


def test_audio_does_not_wait_longer_than_the_budget():
    hold = AudioHold(0.5)
    hold.push(A, "r", 200, "a1", now=0.0)
    hold.push(A, "r", 400, "a2", now=0.3)
    assert hold.next_deadline() == 0.5
    assert hold.due(0.5) == ["a1"]
    assert hold.due(0.8) == ["a2"]
    assert hold.next_deadline() is None


def test_a_release_is_never_taken_back():
    hold = AudioHold(9.0)
    hold.release(A, 500, now=0.0)
    hold.release(A, 100, now=0.0)
    assert hold.push(A, "r", 500, "a", now=0.0) == ["a"]


def test_discarded_audio_is_not_heard():
    hold = AudioHold(9.0)
    hold.push(A, "r", 100, "gone", now=0.0)
    hold.push(B, "s", 100, "kept", now=0.0)
    hold.discard("r")
    assert hold.release(B, None, now=0.0) == ["kept"]


def test_without_a_budget_nothing_waits():
    assert AudioHold(0.0).push(A, "r", 100, "a", now=5.0) == ["a"]
