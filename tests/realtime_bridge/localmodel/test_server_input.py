"""The caller's audio: the buffer, his turns, his words."""

import base64

import pytest
from support.scripted_model import silence, tone
from support.virtual_client import VirtualClient, types

from realtime_bridge.audio import g711
from realtime_bridge.localmodel.inline import Delays
from realtime_bridge.localmodel.model_session import Limits
from realtime_bridge.localmodel.parts import Say

TRANSCRIBE = {"input": {"transcription": {"model": "whisper-1"}}}
MANUAL = {"input": {"turn_detection": None}}


def say(client: VirtualClient, ms: int = 1000):
    """A turn: a pause, speech, and silence enough to end it."""
    return client.play(silence(400) + tone(ms) + silence(700))


def test_a_turn_is_announced_committed_and_answered():
    client = VirtualClient([], hears=["hello there"])
    client.update(audio=TRANSCRIBE)

    events = say(client)

    assert types(events) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.done",
        "rate_limits.updated",
    ]
    added = client.last("conversation.item.added")["item"]
    assert added["content"] == [{"type": "input_audio", "transcript": ""}]  # there from the first: clients demand it
    item_ids = {event["item_id"] for event in events if "item_id" in event}
    assert item_ids == {added["id"]}


def test_offsets_are_those_of_the_speech_with_its_padding_and_its_silence():
    client = VirtualClient()
    client.update(
        audio={"input": {"turn_detection": {"prefix_padding_ms": 100, "silence_duration_ms": 300}}},
    )
    client.play(silence(2000) + tone(1000) + silence(1000))

    [started] = client.of("input_audio_buffer.speech_started")
    [stopped] = client.of("input_audio_buffer.speech_stopped")

    assert started["audio_start_ms"] == pytest.approx(2000 - 100, abs=32)
    assert stopped["audio_end_ms"] == pytest.approx(3000 + 300, abs=64)
    [item] = [event["item"] for event in client.of("conversation.item.done")]
    client.send("conversation.item.retrieve", item_id=item["id"])
    [part] = client.last("conversation.item.retrieved")["item"]["content"]
    assert len(base64.b64decode(part["audio"])) / 48 == stopped["audio_end_ms"] - started["audio_start_ms"]


def test_offsets_go_on_counting_through_commits_and_clears():
    client = VirtualClient(hears=["one", "two"])
    say(client)
    client.send("input_audio_buffer.clear")
    client.play(silence(5000))
    say(client)

    first, second = (event["audio_start_ms"] for event in client.of("input_audio_buffer.speech_started"))
    assert second - first == pytest.approx(2100 + 5000, abs=32)


@pytest.mark.parametrize(("name", "encode"), [("audio/pcmu", g711.pcm16_to_mulaw), ("audio/pcma", g711.pcm16_to_alaw)])
def test_telephone_formats_are_heard_like_pcm(name, encode):
    client = VirtualClient([], hears=["hello"])
    client.update(audio={"input": {"format": {"type": name}, **TRANSCRIBE["input"]}})

    audio = encode(silence(400, rate=8000) + tone(1000, rate=8000) + silence(700, rate=8000))
    client.play(audio, bytes_per_ms=8)

    [completed] = client.of("conversation.item.input_audio_transcription.completed")
    assert completed["transcript"] == "hello"
    [speech] = client.recognizer.heard
    started, stopped = (
        client.last("input_audio_buffer.speech_started"),
        client.last("input_audio_buffer.speech_stopped"),
    )
    assert speech.size == (stopped["audio_end_ms"] - started["audio_start_ms"]) * 16  # 16 kHz
    assert 0.4 < abs(speech).max() < 0.6


def test_words_come_in_deltas_that_join_to_the_transcript_with_their_cost():
    client = VirtualClient([], hears=["I want to book a room"])
    client.update(audio=TRANSCRIBE)
    say(client)

    deltas = [event["delta"] for event in client.of("conversation.item.input_audio_transcription.delta")]
    [completed] = client.of("conversation.item.input_audio_transcription.completed")
    assert len(deltas) == 6
    assert "".join(deltas) == completed["transcript"] == "I want to book a room"
    usage = completed["usage"]
    assert usage["type"] == "tokens"
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens"] == pytest.approx(18, abs=1)  # 1.8 s of audio, 10 tokens a second


def test_without_transcription_the_brain_still_hears_the_words_and_the_client_does_not():
    client = VirtualClient([], hears=["a secret"])
    say(client)

    assert not [event for event in client.events if "transcription" in event["type"]]
    [turn] = client.brain.turns
    assert turn.items[0].content[0].transcript == "a secret"
    client.send("conversation.item.retrieve", item_id=client.last("conversation.item.done")["item"]["id"])
    assert client.last("conversation.item.retrieved")["item"]["content"][0]["transcript"] == ""


def test_a_recogniser_that_fails_is_reported_and_the_conversation_goes_on():
    client = VirtualClient([Say("Pardon?")], hears=[RuntimeError("out of memory")])
    client.update(audio=TRANSCRIBE)
    say(client)
    client.wait(2)

    [failed] = client.of("conversation.item.input_audio_transcription.failed")
    assert failed["error"]["message"] == "out of memory"
    assert client.last("response.done")["response"]["status"] == "completed"
    assert client.brain.turns[0].items[0].content[0].transcript == ""


def test_no_response_is_created_when_the_client_wants_to_create_it():
    client = VirtualClient([], hears=["hello"])
    client.update(audio={"input": {"turn_detection": {"create_response": False}}})
    say(client)

    assert client.of("input_audio_buffer.committed")
    assert not client.of("response.created")


def test_manual_turns_are_committed_by_the_client_and_not_answered():
    client = VirtualClient([], hears=["hello"])
    client.update(audio={"input": {"turn_detection": None, **TRANSCRIBE["input"]}})

    assert client.play(tone(1000)) == []
    events = client.send("input_audio_buffer.commit") + client.wait(1)

    assert types(events) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
    ]
    assert events[0]["previous_item_id"] is None


def test_silence_that_is_committed_by_hand_is_not_given_to_the_recogniser():
    client = VirtualClient(hears=["words made up from nothing"])
    client.update(audio={"input": {"turn_detection": None, **TRANSCRIBE["input"]}})
    client.play(silence(1000))
    client.send("input_audio_buffer.commit")
    client.wait(1)

    assert client.last("conversation.item.input_audio_transcription.completed")["transcript"] == ""
    assert client.recognizer.heard == []


@pytest.mark.parametrize("ms", [0, 99])
def test_a_commit_of_too_little_audio_is_refused(ms):
    client = VirtualClient()
    client.update(audio=MANUAL)
    client.play(tone(ms), frame_ms=33)

    [event] = client.send("input_audio_buffer.commit", event_id="c1")

    assert event["error"] == {
        "type": "invalid_request_error",
        "code": "input_audio_buffer_commit_empty",
        "message": (
            "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
            f"but buffer only has {ms:.2f}ms of audio."
        ),
        "param": None,
        "event_id": "c1",
    }


def test_a_cleared_buffer_is_empty():
    client = VirtualClient()
    client.update(audio=MANUAL)
    client.play(tone(1000))

    assert types(client.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    assert client.send("input_audio_buffer.commit")[0]["error"]["code"] == "input_audio_buffer_commit_empty"


def test_a_commit_in_the_middle_of_a_turn_takes_the_announced_item():
    client = VirtualClient(hears=["hello"])
    client.play(silence(400) + tone(800))
    [started] = client.of("input_audio_buffer.speech_started")

    committed = client.send("input_audio_buffer.commit")[0]

    assert committed["item_id"] == started["item_id"]
    client.play(silence(1000))
    assert not client.of("input_audio_buffer.speech_stopped")


def test_clearing_in_the_middle_of_a_turn_forgets_it():
    client = VirtualClient(hears=["hello"])
    client.play(silence(400) + tone(800))
    client.send("input_audio_buffer.clear")
    client.play(silence(1000))

    assert not client.of("input_audio_buffer.speech_stopped")
    assert not client.of("input_audio_buffer.committed")


def test_turning_detection_off_forgets_the_open_turn():
    client = VirtualClient(hears=["hello"])
    client.play(silence(400) + tone(800))
    client.update(audio=MANUAL)
    client.play(silence(1000))

    [started] = client.of("input_audio_buffer.speech_started")
    assert client.send("input_audio_buffer.commit")[0]["item_id"] != started["item_id"]


@pytest.mark.parametrize(
    ("audio", "param"), [("not base64!", "audio"), ("AAA", "audio"), (base64.b64encode(b"odd").decode(), "audio")]
)
def test_audio_that_is_no_audio_is_refused(audio, param):
    client = VirtualClient()

    [event] = client.send("input_audio_buffer.append", audio=audio)

    assert event["error"]["code"] == "invalid_value"
    assert event["error"]["param"] == param
    assert "mono PCM16 at 24kHz" in event["error"]["message"]


def test_audio_beyond_the_limit_is_refused_until_the_buffer_is_emptied():
    client = VirtualClient(limits=Limits(input_seconds_max=2))
    client.update(audio=MANUAL)

    events = client.play(silence(2100))

    assert {event["error"]["code"] for event in events} == {"input_audio_buffer_full"}
    client.send("input_audio_buffer.clear")
    assert client.play(silence(1000)) == []


def test_a_turn_that_never_ends_is_ended_at_the_limit():
    client = VirtualClient([], [], limits=Limits(input_seconds_max=5), hears=["blah", "blah"])
    client.play(tone(11_000))

    assert len(client.of("input_audio_buffer.committed")) == 2
    assert len(client.of("input_audio_buffer.speech_started")) == 3


def test_hours_of_silence_leave_little_in_the_buffer():
    client = VirtualClient()
    minute = base64.b64encode(bytes(48 * 60_000)).decode()
    for _ in range(20):
        client.send("input_audio_buffer.append", audio=minute)

    client.send("input_audio_buffer.commit")
    client.send("conversation.item.retrieve", item_id=client.last("input_audio_buffer.committed")["item_id"])
    kept = base64.b64decode(client.last("conversation.item.retrieved")["item"]["content"][0]["audio"])
    assert len(kept) <= 48 * 12_000


def test_silence_after_a_reply_was_played_brings_the_model_to_speak():
    client = VirtualClient([Say("One two three four.")], [Say("Are you there?")])
    client.update(audio={"input": {"turn_detection": {"idle_timeout_ms": 2000}}})
    client.send("response.create")
    client.wait(1)
    done_at = client.times[client.events.index(client.last("response.done"))]

    client.play(silence(4000))

    [triggered] = client.of("input_audio_buffer.timeout_triggered")
    triggered_at = client.times[client.events.index(triggered)]
    assert triggered_at - done_at == pytest.approx(1.0 + 2.0, abs=0.03)  # a second of speech, then the timeout
    assert triggered["audio_end_ms"] - triggered["audio_start_ms"] == pytest.approx(2000, abs=40)
    assert client.last("input_audio_buffer.committed")["item_id"] == triggered["item_id"]
    assert client.last("response.output_audio_transcript.done")["transcript"] == "Are you there?"


def test_the_idle_timeout_does_not_run_while_the_caller_speaks():
    client = VirtualClient([Say("One two.")], hears=["something long"])
    client.update(audio={"input": {"turn_detection": {"idle_timeout_ms": 1000, "create_response": False}}})
    client.send("response.create")
    client.wait(0.5)
    client.play(silence(400) + tone(5000))

    assert not client.of("input_audio_buffer.timeout_triggered")


def test_no_idle_timeout_before_the_first_reply():
    client = VirtualClient()
    client.update(audio={"input": {"turn_detection": {"idle_timeout_ms": 500}}})
    client.play(silence(3000))

    assert not client.of("input_audio_buffer.timeout_triggered")


def test_semantic_detection_waits_for_a_sentence_that_is_not_finished():
    client = VirtualClient([], [], hears=["I would like to book a", "I would like to book a room for two, please."])
    client.update(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}})

    client.play(silence(400) + tone(800) + silence(1000) + tone(800) + silence(1000))

    [stopped] = client.of("input_audio_buffer.speech_stopped")
    assert stopped["audio_end_ms"] == pytest.approx(3000 + 250, abs=64)
    assert client.brain.turns[0].items[0].content[0].transcript == "I would like to book a room for two, please."


def test_semantic_detection_recognises_the_words_once():
    client = VirtualClient([], hears=["Yes, please.", "never asked"])
    client.update(audio={"input": {"turn_detection": {"type": "semantic_vad"}, **TRANSCRIBE["input"]}})
    client.play(silence(400) + tone(800) + silence(1500))

    [completed] = client.of("conversation.item.input_audio_transcription.completed")
    assert completed["transcript"] == "Yes, please."
    assert len(client.recognizer.heard) == 1


def test_semantic_detection_gives_up_waiting_at_the_documented_maximum():
    client = VirtualClient([], hears=["my number is and", "my number is and"])
    client.update(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}})
    client.play(silence(400) + tone(800) + silence(2500))

    assert client.last("input_audio_buffer.speech_stopped")["audio_end_ms"] == pytest.approx(1200 + 2000, abs=64)


def test_a_slow_recogniser_only_delays_the_semantic_end():
    client = VirtualClient([], hears=["Yes, please."], delays=Delays(recognise=0.8))
    client.update(audio={"input": {"turn_detection": {"type": "semantic_vad"}}})
    client.play(silence(400) + tone(800) + silence(1500))

    stopped = client.last("input_audio_buffer.speech_stopped")
    assert client.times[client.events.index(stopped)] - 100 == pytest.approx(1.2 + 0.2 + 0.8, abs=0.08)
    assert client.last("response.done")["response"]["status"] == "completed"
