"""Which phone numbers may be dialled, and how a number is written where anybody may read it.

Pure, on Google's tables of every country's numbering plan (the `phonenumbers` package). Whatever dials - the outbound
dialler, a transfer, the overflow - asks here first, because a wrong number costs money, and an emergency number worse.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, Literal, TypeAlias

import msgspec
import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType, ValidationResult

from realtime_bridge.errors import BridgeError

INPUT_CHARS_MAX: Final = 40  # E.164 has 15 digits; the rest is brackets and blanks
SHORT_DIGITS_MAX: Final = 6  # no country's full numbers are shorter: what is, is a service of the local network

NumberFault: TypeAlias = Literal["not_a_number", "emergency", "short_code", "premium", "country"]

_COSTLY: Final = {PhoneNumberType.PREMIUM_RATE: "premium-rate", PhoneNumberType.SHARED_COST: "shared-cost"}
_WRONG_LENGTH: Final = {
    ValidationResult.TOO_SHORT: "it has too few digits",
    ValidationResult.TOO_LONG: "it has too many digits",
    ValidationResult.INVALID_COUNTRY_CODE: "no country has this code",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "the area code is missing",
    ValidationResult.INVALID_LENGTH: "it has the wrong number of digits for its country",
}


class NumberRefused(BridgeError):  # noqa: N818 - a refusal is an answer, not a malfunction
    """This number is not dialled. `fault` is for machines; the message says why, and never holds the number."""

    def __init__(self, fault: NumberFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class DialableNumber(msgspec.Struct, frozen=True):
    """A number that has passed. `country`: two letters (ISO 3166), or "001" for numbers of no country."""

    e164: str
    country: str

    def __repr__(self) -> str:
        return f"DialableNumber({mask_number(self.e164)}, {self.country})"


def dialable(text: str, allowed_countries: Collection[str]) -> DialableNumber:
    """Read a number in international form (`+1 415 555 2671`), and judge whether it may be dialled.

    `allowed_countries`: codes as in `Settings.allowed_countries`. Raises NumberRefused.
    """
    parsed = _parse(text.strip(), allowed_countries)
    national = phonenumbers.national_significant_number(parsed)
    valid = phonenumbers.is_valid_number(parsed)
    # An emergency number connects with further digits behind it; a subscriber's number may well begin like one.
    emergency = phonenumbers.is_emergency_number if valid else phonenumbers.connects_to_emergency_number
    regions = phonenumbers.region_codes_for_country_code(parsed.country_code or 0)
    if any(emergency(national, region) for region in regions):
        raise NumberRefused("emergency", "emergency numbers are never dialled: neither by agents nor by programs")
    if len(national) <= SHORT_DIGITS_MAX and phonenumbers.is_valid_short_number(parsed):
        raise NumberRefused("short_code", "short codes cannot be called from another network")
    if (fault := _WRONG_LENGTH.get(phonenumbers.is_possible_number_with_reason(parsed))) is not None:
        raise NumberRefused("not_a_number", f"this is no phone number: {fault}")
    if not valid:
        raise NumberRefused("not_a_number", "this is no phone number: its country has none that begins like this")
    if (costly := _COSTLY.get(phonenumbers.number_type(parsed))) is not None:
        raise NumberRefused("premium", f"{costly} numbers are not dialled")
    country = phonenumbers.region_code_for_number(parsed) or "001"
    if country not in allowed_countries:
        raise NumberRefused(
            "country",
            f"ALLOWED_COUNTRIES is {','.join(allowed_countries) or 'empty'}, and this number is of {_name(country)}: "
            "add the country there if calls may go to it",
        )
    return DialableNumber(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164), country)


def _parse(text: str, allowed_countries: Collection[str]) -> phonenumbers.PhoneNumber:
    if len(text) > INPUT_CHARS_MAX:
        raise NumberRefused("not_a_number", f"a phone number has at most {INPUT_CHARS_MAX} characters")
    if not text.startswith("+"):
        digits = re.sub(r"[^0-9]", "", text)
        if any(phonenumbers.is_emergency_number(digits, region) for region in {"US", "GB", *allowed_countries}):
            raise NumberRefused("emergency", "emergency numbers are never dialled: neither by agents nor by programs")
        if 0 < len(digits) <= SHORT_DIGITS_MAX:
            raise NumberRefused("short_code", "short codes cannot be called from another network")
        raise NumberRefused("not_a_number", "write the number with + and its country's code, such as +1 415 555 0100")
    if re.search("[a-zA-Z]", text):  # `phonenumbers` would read vanity letters and extensions
        raise NumberRefused("not_a_number", "a phone number has digits only, and no extension")
    try:
        return phonenumbers.parse(text)
    except NumberParseException as e:
        fault = "no country has this code" if e.error_type == e.INVALID_COUNTRY_CODE else "it cannot be read"
        raise NumberRefused("not_a_number", f"this is no phone number: {fault}") from None  # the cause repeats it


def _name(country: str) -> str:
    return "no country (satellite or international service)" if country == "001" else country


def mask_number(number: str) -> str:
    """For logs and messages: `+14155552671` becomes `+1 ***-***-2671`; what is no E.164 number becomes `***`.

    A withheld number, "", stays empty.
    """
    if not number:
        return ""
    if not re.fullmatch(r"\+[1-9][0-9]{7,14}", number):
        return "***"
    try:
        code = phonenumbers.parse(number).country_code
    except NumberParseException:
        return "***"
    return f"+{code} ***-***-{number[-4:]}"
