"""The simulated model keeps the Realtime API's order and refuses what the real one refuses."""

import pybase64
import pytest
from simulation.model import CallerSpeaks, Reply, Scenario, ScriptedModel, heard_ms

from realtime_bridge.audio import Downsampler
from realtime_bridge.audio.g711 import pcm16_to_mulaw
from realtime_bridge.wire import client, server
from realtime_bridge.wire.server import type_of


def model(*events, **settings):
    return ScriptedModel(Scenario(events=events, seconds=60, **settings), starts_at=0.0)


def truncate(model, item_id, ms, now):
    event = client.ConversationItemTruncate(event_id="e1", item_id=item_id, content_index=0, audio_end_ms=ms)
    model.receive(event, now)
    return model.advance(now)[-1]


def test_a_reply_comes_in_the_documented_order():
    events = model((0.0, Reply((200, 100)))).advance(60.0)
    item = [
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    assert [type_of(event) for event in events] == ["response.created", *item, *item, "response.done"]
    assert events[-1].response.status == "completed"


def test_audio_comes_as_fast_as_the_reply_says():
    peer = model((1.0, Reply((1000,), speed=2.0, latency_ms=300, hiccup_ms=500)))
    deltas = []
    while (at := peer.next_event_at()) is not None:
        deltas += [at for event in peer.advance(at) if isinstance(event, server.ResponseOutputAudioDelta)]
    assert deltas == pytest.approx([1.3, 1.4, 1.5, 2.1, 2.2])


def test_the_caller_cancels_the_reply_and_some_audio_still_comes():
    peer = model((0.0, Reply((5000,), speed=1.0, latency_ms=0)), (1.1, CallerSpeaks(500)), late_deltas=2)
    peer.advance(1.0)
    events = peer.advance(60.0)
    assert [type_of(event) for event in events if "delta" not in type_of(event)] == [
        "input_audio_buffer.speech_started",
        "response.output_audio.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
    ]
    assert sum(isinstance(event, server.ResponseOutputAudioDelta) for event in events) == 2
    done = next(event for event in events if isinstance(event, server.ResponseDone))
    assert (done.response.status, done.response.status_details.reason) == ("cancelled", "turn_detected")


def test_without_interrupt_response_the_reply_goes_on():
    peer = model((0.0, Reply((1000,))), (0.4, CallerSpeaks()), interrupt_response=False)
    assert [e.response.status for e in peer.advance(60.0) if isinstance(e, server.ResponseDone)] == ["completed"]


def test_replies_wait_for_each_other():
    events = model((0.0, Reply((1000,))), (0.1, Reply((1000,)))).advance(60.0)
    turns = [type_of(e) for e in events if isinstance(e, server.ResponseCreated | server.ResponseDone)]
    assert turns == ["response.created", "response.done"] * 2


def test_a_truncate_within_what_was_sent_is_accepted():
    peer = model((0.0, Reply((1000,), latency_ms=0, speed=1.0)))
    peer.advance(0.5)  # 600 ms are sent
    answer = truncate(peer, peer.items[0].item_id, 600, 0.5)
    assert isinstance(answer, server.ConversationItemTruncated)
    assert peer.items[0].truncated_ms == 600


def test_a_truncate_beyond_what_was_sent_is_refused():
    peer = model((0.0, Reply((1000,), latency_ms=0, speed=1.0)))
    peer.advance(0.5)
    answer = truncate(peer, peer.items[0].item_id, 601, 0.5)
    assert answer.error.message == "Audio content of 600ms is already shorter than 601ms"
    assert answer.error.event_id == "e1"
    assert peer.items[0].truncated_ms is None


def test_a_truncate_before_any_audio_or_of_an_unknown_item_is_refused():
    peer = model((0.0, Reply((1000,), latency_ms=500)))
    peer.advance(0.1)
    assert isinstance(truncate(peer, peer.items[0].item_id, 0, 0.1), server.ErrorEvent)
    assert "not found" in truncate(peer, "item_x", 0, 0.1).error.message


def test_a_cancel_with_nothing_to_cancel_is_refused():
    peer = model()
    peer.receive(client.ResponseCancel(), 1.0)
    [answer] = peer.advance(1.0)
    assert answer.error.code == "response_cancel_not_active"


@pytest.mark.parametrize("index", [0, 1, 11, 22])
def test_items_can_be_told_apart_after_resampling(index):
    peer = model((0.0, Reply((100,) * 23)), audio="pcm")
    deltas = [e.delta for e in peer.advance(60.0) if isinstance(e, server.ResponseOutputAudioDelta)]
    pcm = b"".join(pybase64.b64decode(delta) for delta in deltas)
    heard = pcm16_to_mulaw(Downsampler().process(pcm))
    assert heard_ms(peer.items[index], heard) == pytest.approx(100, abs=3)
