import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.session.heard import Lead, Spoken, heard_text


def spoken(*pieces: tuple[str, int], complete: bool = True) -> Spoken:
    """(words, audio that came after them) in turn."""
    made = Spoken()
    for words, audio_ms in pieces:
        made.add(words)
        made.audio_ms += audio_ms
    made.complete = complete
    return made


SENTENCES = spoken(("Good morning to you.", 2000), (" How can I help?", 1600))


@pytest.mark.parametrize(
    ("heard_ms", "text"),
    [
        (0, ""),
        (-5, ""),
        (1000, "Good morning"),
        (2000, "Good morning to you."),
        (2800, "Good morning to you. How can"),
        (3600, "Good morning to you. How can I help?"),
        (9999, "Good morning to you. How can I help?"),
    ],
)
def test_words_that_come_with_their_audio_are_cut_where_the_audio_was(heard_ms, text):
    assert heard_text(SENTENCES, heard_ms, lead_ms=0) == text


def test_a_sentence_spoken_slowly_does_not_borrow_words_from_the_next():
    slow_then_fast = spoken(("One.", 4000), (" And then very many words in no time.", 1000))
    assert heard_text(slow_then_fast, 3900, lead_ms=0) == "One."


def test_words_that_run_ahead_are_put_where_they_are_said():
    made = Spoken()
    for word in ("one ", "two ", "three ", "four ", "five "):
        made.add(word)
        made.audio_ms += 200
    made.audio_ms += 1000  # the words were a second ahead
    made.complete = True
    lead = Lead()
    lead.learn(made)
    assert 700 <= lead.ms <= 1000
    assert heard_text(made, 1000, lead.ms).split() in (["one"], ["one", "two"])
    assert len(heard_text(made, 1000, 0).split()) == 4, "without knowing the lead"


def test_all_the_words_at_once_are_spread_over_the_audio():
    made = spoken(("one two three four five six", 0))
    made.audio_ms = 3000
    assert heard_text(made, 1500, lead_ms=0) == "one two three"


def test_nobody_is_heard_to_speak_faster_than_people_can():
    made = spoken(("a very long sentence that came before nearly any of its audio", 0), complete=False)
    made.audio_ms = 200
    assert heard_text(made, 200, lead_ms=0) == "a very"


def test_words_far_ahead_of_their_audio_are_said_as_fast_as_those_before():
    lead = Lead()
    lead.learn(spoken(("Good morning to you.", 2000)))  # ten letters a second
    made = spoken(("a very long sentence that came before its audio", 1000), complete=False)
    assert heard_text(made, 1000, lead.ms) == "a very long sentence that came"
    assert heard_text(made, 1000, lead.ms, lead.chars_per_s) == "a very long"
    made.complete, made.audio_ms = True, 4700
    assert heard_text(made, 4700, lead.ms, lead.chars_per_s) == made.text


def test_languages_without_spaces_are_cut_inside():
    made = spoken(("こんにちは、今日はどのようなご用件でしょうか。お名前を教えてください。", 6000))
    assert heard_text(made, 3000, lead_ms=0) == "こんにちは、今日はどのようなご用件"


def test_an_item_without_words_has_none():
    assert heard_text(Spoken(audio_ms=500), 300, lead_ms=0) == ""


def test_a_transcript_that_differs_replaces_what_was_known():
    made = spoken(("I said this", 1000))
    made.settle("I said that instead")
    assert made.text == "I said that instead"


def test_a_longer_transcript_adds_what_is_missing():
    made = spoken(("I said", 1000))
    made.settle("I said this")
    assert made.pieces == [(0, "I said"), (1000, " this")]


@pytest.mark.parametrize(("chars", "sure_ms"), [(0, 0), (20, 2000), (25, 2000), (36, None), (99, None)])
def test_audio_is_sure_to_hold_no_more_than_so_many_characters(chars, sure_ms):
    assert SENTENCES.sure_ms(chars) == sure_ms


@pytest.mark.parametrize("made", [Spoken(), spoken(("", 100)), spoken(("words", 0))])
def test_nothing_is_learned_from_items_without_words_or_audio(made):
    lead = Lead()
    lead.learn(made)
    assert lead.ms == 0


pieces = st.lists(st.tuples(st.text("ab cé", max_size=12), st.integers(0, 900)), max_size=8)


@given(pieces, st.booleans(), st.integers(0, 9000), st.integers(0, 9000), st.floats(0, 3000))
def test_hearing_more_never_means_fewer_words(parts, complete, one, other, lead_ms):
    made = spoken(*parts, complete=complete)
    less, more = sorted((one, other))
    short, long = heard_text(made, less, lead_ms), heard_text(made, more, lead_ms)
    assert made.text.startswith(long)
    assert long.startswith(short)
