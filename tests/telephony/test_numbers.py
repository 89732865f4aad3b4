"""Which numbers may be dialled: real ones of allowed countries, and none that costs money or lives."""

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.numbers import DialableNumber, NumberRefused, dialable, mask_number

ALLOWED = ("US", "GB")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+14155552671", DialableNumber("+14155552671", "US")),
        (" +1 (415) 555-2671\n", DialableNumber("+14155552671", "US")),
        ("+44 20 7946 0123", DialableNumber("+442079460123", "GB")),
        ("+1 800 555 1234", DialableNumber("+18005551234", "US")),
    ],
)
def test_a_number_is_read_as_people_write_it(text, number):
    assert dialable(text, ALLOWED) == number


@pytest.mark.parametrize(
    ("text", "fault", "said"),
    [
        ("", "not_a_number", "with [+]"),
        ("+", "not_a_number", "cannot be read"),
        ("8005551212", "not_a_number", "with [+]"),
        ("+1415555267", "not_a_number", "too few digits"),
        ("+141555526711", "not_a_number", "too many digits"),
        ("+1 555 0100", "not_a_number", "area code"),
        ("+15555550100", "not_a_number", "begins like this"),
        ("+999123456", "not_a_number", "no country"),
        ("+14155552671x12", "not_a_number", "no extension"),
        ("+1 800 FLOWERS", "not_a_number", "digits only"),
        ("+1" * 30, "not_a_number", "40 characters"),
        ("911", "emergency", "never dialled"),
        ("9-1-1", "emergency", "never dialled"),
        ("112", "emergency", "never dialled"),
        ("+1911", "emergency", "never dialled"),
        ("+44999", "emergency", "never dialled"),
        ("+49112", "emergency", "never dialled"),
        ("41411", "short_code", "short codes"),
        ("+19005551234", "premium", "premium-rate"),
        ("+448719876543", "premium", "premium-rate"),
        ("+41848123456", "premium", "shared-cost"),
        ("+4915123456789", "country", "ALLOWED_COUNTRIES is US,GB, .* DE"),
        ("+18765551234", "country", "JM"),  # begins with +1, and is dear
        ("+881612345678", "country", "satellite"),
    ],
)
def test_what_must_not_be_dialled_is_refused_with_its_reason(text, fault, said):
    with pytest.raises(NumberRefused, match=said) as refused:
        dialable(text, ALLOWED)
    assert refused.value.fault == fault
    assert len(text) < 4 or text.strip() not in str(refused.value)


def test_no_subscriber_of_any_country_is_taken_for_an_emergency():
    """Paris begins with 15, as France's ambulance does."""
    for region in phonenumbers.SUPPORTED_REGIONS:
        for kind in (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE):
            example = phonenumbers.example_number_for_type(region, kind)
            if example is None:
                continue
            text = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
            try:
                assert dialable(text, phonenumbers.SUPPORTED_REGIONS).e164 == text
            except NumberRefused as refused:
                assert refused.fault not in ("emergency", "short_code"), text  # noqa: PT017 - one of many examples


@settings(deadline=None)  # a country's table is loaded when its first number comes
@given(st.text(max_size=50) | st.from_regex(r"\+?[0-9 ()-]{1,30}", fullmatch=True))
def test_any_text_is_read_or_refused(text):
    try:
        number = dialable(text, ALLOWED)
    except NumberRefused:
        return
    assert number.country in ALLOWED
    assert dialable(number.e164, ALLOWED) == number


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+14155552671", "+1 ***-***-2671"),
        ("+442079460123", "+44 ***-***-0123"),
        ("", ""),
        ("anonymous", "***"),
        ("911", "***"),
        ("client:alice", "***"),
    ],
)
def test_a_masked_number_tells_the_country_and_four_digits(number, masked):
    assert mask_number(number) == masked
    assert mask_number(mask_number(number) or "x") == "***"


def test_a_number_is_masked_where_it_is_shown_by_accident():
    assert "5552671" not in repr(dialable("+14155552671", ALLOWED))
