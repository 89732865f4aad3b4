import pytest

from realtime_bridge.session.usage import Price, Tokens, cost, tokens_of, transcription_tokens
from realtime_bridge.wire import Usage
from realtime_bridge.wire.items import TokenDetails

USAGE = Usage(
    total_tokens=100,
    input_tokens=70,
    output_tokens=30,
    input_token_details=TokenDetails(
        text_tokens=40,
        audio_tokens=30,
        cached_tokens=15,
        cached_tokens_details=TokenDetails(text_tokens=10, audio_tokens=5),
    ),
    output_token_details=TokenDetails(text_tokens=10, audio_tokens=20),
)


def test_tokens_are_counted_by_kind_and_added_up():
    one = tokens_of(USAGE)
    assert (one.text_in, one.audio_in, one.cached_text_in, one.cached_audio_in, one.audio_out) == (40, 30, 10, 5, 20)
    assert one.total == 100
    both = one + tokens_of(USAGE)
    assert (both.responses, both.total_in, both.text_out) == (2, 140, 20)


def test_a_server_that_tells_no_details_is_fine():
    assert tokens_of(Usage(input_tokens=3, output_tokens=4)).total == 7
    assert tokens_of(Usage()) == Tokens(responses=1)


def test_cached_tokens_are_cheaper():
    price = Price(text_in=4.0, cached_text_in=0.4, audio_in=32.0, cached_audio_in=0.4, text_out=16.0, audio_out=64.0)
    dollars = (30 * 4.0 + 10 * 0.4 + 25 * 32.0 + 5 * 0.4 + 10 * 16.0 + 20 * 64.0) / 1_000_000
    assert cost(tokens_of(USAGE), price) == pytest.approx(dollars)


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        ({"type": "tokens", "input_tokens": 1_000_000, "output_tokens": 500_000}, 2.5),
        ({"type": "duration", "seconds": 90}, 0.009),
        ({"type": "duration", "seconds": "nonsense"}, 0.0),
    ],
)
def test_transcription_costs_too(usage, dollars):
    price = Price(transcription_in=1.25, transcription_out=2.5, transcribed_minute=0.006)
    assert cost(transcription_tokens(usage), price) == pytest.approx(dollars)
