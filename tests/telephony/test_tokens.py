"""Call tokens, in virtual time."""

from hypothesis import given
from hypothesis import strategies as st

from telephony.tokens import CallTokens, TokenVerdict


def test_a_token_opens_its_call_once():
    tokens = CallTokens(seconds=60)
    token = tokens.issue("CA1", now=0)
    assert tokens.redeem(token, "CA1", now=59.9) is TokenVerdict.VALID
    assert tokens.redeem(token, "CA1", now=59.9) is TokenVerdict.UNKNOWN


def test_a_token_expires():
    tokens = CallTokens(seconds=60)
    token = tokens.issue("CA1", now=0)
    assert tokens.redeem(token, "CA1", now=60) is TokenVerdict.EXPIRED
    assert tokens.redeem(token, "CA1", now=60) is TokenVerdict.UNKNOWN


def test_a_wrong_token_does_not_lock_the_right_one_out():
    tokens = CallTokens()
    token, foreign = tokens.issue("CA1", now=0), tokens.issue("CA2", now=0)
    for wrong, verdict in (
        (foreign, TokenVerdict.FOREIGN), (token[:-1], TokenVerdict.FOREIGN), ("é\ud800", TokenVerdict.FOREIGN),
        ("", TokenVerdict.MISSING), (None, TokenVerdict.MISSING),
    ):  # fmt: skip
        assert tokens.redeem(wrong, "CA1", now=0) is verdict
    assert tokens.redeem(token, "CA3", now=0) is TokenVerdict.UNKNOWN
    assert tokens.redeem(token, "CA1", now=0) is TokenVerdict.VALID


def test_a_second_webhook_of_a_call_replaces_its_token():
    tokens = CallTokens(tokens_max=1)
    first, second = tokens.issue("CA1", now=0), tokens.issue("CA1", now=1)
    assert first != second
    assert tokens.redeem(first, "CA1", now=1) is TokenVerdict.FOREIGN
    assert tokens.redeem(second, "CA1", now=1) is TokenVerdict.VALID


def test_the_store_is_bounded_and_expired_tokens_make_room():
    tokens = CallTokens(seconds=60, tokens_max=2)
    assert tokens.issue("CA1", now=0)
    assert tokens.issue("CA2", now=30)
    assert tokens.issue("CA3", now=59) is None
    assert tokens.issue("CA3", now=60)


def test_a_call_is_expected_for_as_long_as_its_media_should_take():
    tokens = CallTokens(seconds=60)
    token = tokens.issue("CA1", now=0)
    tokens.issue("CA2", now=5)
    assert tokens.expected(now=9) == 2
    assert tokens.expected(now=11) == 1, "used elsewhere, or the caller has gone"
    tokens.redeem(tokens.issue("CA3", now=12), "CA3", now=12)
    assert tokens.expected(now=12) == 1
    assert tokens.redeem(token, "CA1", now=50) is TokenVerdict.VALID, "late, and welcome all the same"


@given(st.lists(st.tuples(st.sampled_from(["issue", "redeem", "wait"]), st.sampled_from(["CA1", "CA2", "CA3"]))))
def test_no_token_is_ever_valid_twice_or_late(deeds):
    tokens, now = CallTokens(seconds=5, tokens_max=2), 0.0
    issued: dict[str, tuple[str, float]] = {}
    used = set()
    for deed, call in deeds:
        now += 1.0
        if deed == "wait":
            now += 3.0
        elif deed == "issue":
            token = tokens.issue(call, now)
            if token is not None:
                issued[call] = (token, now)
        elif call in issued:
            token, at = issued[call]
            fresh = token not in used and now < at + 5
            assert (tokens.redeem(token, call, now) is TokenVerdict.VALID) == fresh
            used.add(token)
        assert tokens.expected(now) <= 2
