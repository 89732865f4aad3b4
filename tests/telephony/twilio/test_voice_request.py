"""What webhooks say of a call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.errors import ProtocolError
from telephony.twilio.voice_request import VoiceRequest, read_voice_request

FORM = {
    "CallSid": "CA1", "AccountSid": "AC1", "From": "+4989123456", "To": "+15550100", "CallStatus": "ringing",
    "ApiVersion": "2010-04-01", "Direction": "inbound", "FromCity": "MUNICH", "FromCountry": "DE", "FromState": "",
    "StirVerstat": "TN-Validation-Passed-A",
}  # fmt: skip


def test_a_voice_webhook_tells_who_calls_and_what_the_carrier_knows():
    assert read_voice_request(FORM) == VoiceRequest(
        call_sid="CA1",
        from_number="+4989123456",
        to_number="+15550100",
        status="ringing",
        carrier={"city": "MUNICH", "country": "DE", "attestation": "TN-Validation-Passed-A"},
    )


def test_a_status_callback_tells_how_a_call_fares():
    form = {
        **FORM, "Direction": "outbound-api", "CallStatus": "completed", "SequenceNumber": "3", "CallDuration": "17",
        "AnsweredBy": "human", "ErrorCode": "13224",
    }  # fmt: skip
    told = read_voice_request(form)
    assert (told.outbound, told.status, told.sequence, told.duration_s) == (True, "completed", 3, 17)
    assert (told.answered_by, told.error_code) == ("human", 13224)


@pytest.mark.parametrize("number", ["anonymous", "+266696687", "+86282452253", "", "Restricted", "<script>", "1234"])
def test_a_withheld_number_is_none(number):
    assert read_voice_request({**FORM, "From": number}).from_number == ""


def test_a_sip_address_is_kept():
    assert read_voice_request({**FORM, "From": "sip:desk@example.com"}).from_number == "sip:desk@example.com"


def test_a_new_kind_of_answer_is_an_unknown_one():
    assert read_voice_request({**FORM, "AnsweredBy": "parrot"}).answered_by == "unknown"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"CallSid": ""}, "CallSid"), ({"CallSid": "../x"}, "CallSid"), ({"CallSid": "C" * 65}, "CallSid"),
        ({"CallStatus": "dreaming"}, "CallStatus"), ({"SequenceNumber": "-1"}, "SequenceNumber"),
        ({"CallDuration": "1e9"}, "CallDuration"), ({"CallDuration": "9" * 99}, "CallDuration"),
    ],
)  # fmt: skip
def test_what_twilio_would_not_send_is_refused_by_the_name_of_its_field(change, field):
    with pytest.raises(ProtocolError) as caught:
        read_voice_request({**FORM, **change})
    assert caught.value.where == field


@given(st.dictionaries(st.sampled_from([*FORM, "AnsweredBy", "SequenceNumber", "CallerName"]), st.text(max_size=300)))
def test_no_form_breaks_it(form):
    try:
        told = read_voice_request({"CallSid": "CA1"} | form)
    except ProtocolError as e:
        where = e.where
    else:
        where = "accepted"
        assert all(len(value) <= 200 for value in told.carrier.values())
    assert where
