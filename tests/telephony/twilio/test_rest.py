"""Twilio's REST API as it behaves on bad days: what is asked again, what never, and what each refusal means."""

import asyncio
import base64
import socket
from datetime import UTC, datetime

import pytest
from support.http_endpoint import CLOSE, RESET, SILENCE, HttpEndpoint, answer

from telephony.settings import Settings, SettingsError
from telephony.twilio.rest import PlaceCall, RestLimits, TwilioRest
from telephony.twilio.rest_errors import CODES, TwilioRestError, error_of

ACCOUNT, KEY, CALL = "AC" + "0" * 32, "SK" + "1" * 32, "CA" + "2" * 32
TO, FROM = "+14155552671", "+14155550100"
DIAL = PlaceCall(
    to=TO,
    from_number=FROM,
    url="https://phone.example.com/twilio/voice?attempt=a1",
    status_callback="https://phone.example.com/twilio/status?attempt=a1",
    ring_seconds=25,
    call_seconds_max=600,
)
QUICK = RestLimits(request_seconds=1.0, connect_seconds=1.0, total_seconds=60.0)  # where silence is tried
PATIENT = RestLimits(request_seconds=30.0, connect_seconds=30.0, total_seconds=60.0)


def settings(url, **more):
    given = {"twilio_account_sid": ACCOUNT, "twilio_auth_token": "secret", "twilio_api_base_url": url, **more}
    return Settings(_env_file=None, **given)


def against(handler, use, *, limits=PATIENT, **more):
    """Runs `use(rest)` against a Twilio that answers by `handler`: (its result or error, what was asked, the pauses)"""
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    async def scenario():
        async with HttpEndpoint(handler) as twilio:
            async with TwilioRest(settings(twilio.url, **more), limits=limits, sleep=sleep) as rest:
                try:
                    result = await use(rest)
                except TwilioRestError as e:
                    result = e
            return result, twilio.asked, pauses

    return asyncio.run(scenario())


def in_turn(*answers):
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def place(rest):
    return rest.place_call(DIAL)


CREATED = answer(201, {"sid": CALL, "status": "queued"})


def test_a_call_is_placed_with_all_it_was_given():
    sid, (asked,), _ = against(lambda _: CREATED, place)
    assert sid == CALL
    assert (asked.method, asked.path) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Calls.json")
    assert asked.form == {
        "To": [TO],
        "From": [FROM],
        "Url": [DIAL.url],
        "StatusCallback": [DIAL.status_callback],
        "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
        "Timeout": ["25"],
        "TimeLimit": ["600"],
    }


@pytest.mark.parametrize(
    ("callback", "sent"),
    [
        (None, {"MachineDetection": ["Enable"]}),
        (
            "https://phone.example.com/twilio/amd",
            {
                "MachineDetection": ["Enable"],
                "AsyncAmd": ["true"],
                "AsyncAmdStatusCallback": ["https://phone.example.com/twilio/amd"],
            },
        ),
    ],
)
def test_machines_are_told_before_the_answer_or_meanwhile(callback, sent):
    import msgspec

    call = msgspec.structs.replace(DIAL, machine_detection="Enable", amd_callback=callback)
    _, (asked,), _ = against(lambda _: CREATED, lambda rest: rest.place_call(call))
    assert {name: value for name, value in asked.form.items() if "Machine" in name or "Amd" in name} == sent


def test_an_api_key_is_preferred_to_the_auth_token():
    for more, pair in (
        ({}, f"{ACCOUNT}:secret"),
        ({"twilio_api_key_sid": KEY, "twilio_api_key_secret": "hush"}, f"{KEY}:hush"),
    ):
        _, (asked,), _ = against(lambda _: CREATED, place, **more)
        assert asked.headers["authorization"] == "Basic " + base64.b64encode(pair.encode()).decode()
        assert f"/Accounts/{ACCOUNT}/" in asked.path


@pytest.mark.parametrize("missing", ["twilio_account_sid", "twilio_auth_token"])
def test_without_credentials_it_says_which_setting_is_missing(missing):
    with pytest.raises(SettingsError, match=missing.upper()):
        TwilioRest(settings("http://127.0.0.1:1", **{missing: None}))


UNTOLD = {
    "HTTP 500": answer(500, {"code": 20500, "message": "Internal"}),
    "HTTP 503 with a code that elsewhere means back off": answer(503, {"code": 20429}),
    "a proxy's page": answer(502, text="<html>Bad gateway</html>"),
    "silence": SILENCE,
    "a reset": RESET,
    "a close": CLOSE,
    "half an answer": b"HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{",
    "no HTTP": b"\x00\x01\x02\r\n\r\n",
    "no JSON": answer(201, text="OK"),
    "no object": answer(201, text="[1]"),
    "no SID": answer(201, {"status": "queued"}),
    "a wrong SID": answer(201, {"sid": "../../etc"}),
    "see other": answer(303, Location="/elsewhere"),
    "too much": answer(201, text=" " * 5_000_000),
}


def limits_for(fault):
    return QUICK if fault in (SILENCE, UNTOLD["half an answer"]) else PATIENT


@pytest.mark.parametrize("fault", UNTOLD.values(), ids=UNTOLD)
def test_a_call_that_may_have_been_dialled_is_never_asked_for_again(fault):
    error, asked, pauses = against(lambda _: fault, place, limits=limits_for(fault))
    assert (error.kind, error.retryable) == ("unknown", False)
    assert (len(asked), pauses) == (1, [])
    assert TO not in str(error)


@pytest.mark.parametrize("fault", list(UNTOLD.values())[:9], ids=list(UNTOLD)[:9])
def test_reading_is_asked_again(fault):
    answers = in_turn(fault, fault, answer(200, {"sid": CALL, "status": "ringing"}))
    call, asked, pauses = against(answers, lambda rest: rest.fetch_call(CALL), limits=limits_for(fault))
    assert (call.sid, call.status) == (CALL, "ringing")
    assert len(asked) == 3
    assert len(pauses) in (1, 2)  # a connection that dies is replaced at once


def test_a_call_that_was_refused_for_haste_is_asked_for_again_later_and_later():
    busy = answer(429, {"code": 20429})
    sid, asked, pauses = against(in_turn(busy, busy, CREATED), place)
    assert (sid, len(asked)) == (CALL, 3)
    assert 0.3 < pauses[0] < 0.7 < pauses[1] < 1.3
    error, asked, _ = against(lambda _: busy, place)
    assert (error.kind, error.code, error.status, error.retryable) == ("back_off", 20429, 429, True)
    assert len(asked) == 4


def test_it_waits_as_long_as_twilio_wishes_but_not_for_ever():
    sid, _, pauses = against(in_turn(answer(429, {}, Retry_After="3"), CREATED), place)
    assert (sid, pauses) == (CALL, [3.0])
    error, asked, pauses = against(lambda _: answer(429, {}, Retry_After="600"), place)
    assert (error.kind, len(asked), pauses) == ("back_off", 1, [])


def test_a_twilio_that_cannot_be_reached_has_dialled_nobody():
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        pauses = []

        async def sleep(seconds):
            pauses.append(seconds)

        async with TwilioRest(settings(f"http://127.0.0.1:{port}"), limits=QUICK, sleep=sleep) as rest:
            with pytest.raises(TwilioRestError) as refused:
                await rest.place_call(DIAL)
        assert (refused.value.kind, refused.value.status, len(pauses)) == ("back_off", None, 3)

    asyncio.run(scenario())


@pytest.mark.parametrize("code", CODES)
def test_each_known_code_has_its_kind_and_its_advice(code):
    status = 429 if CODES[code][0] == "back_off" else 400
    error, asked, _ = against(lambda _: answer(status, {"code": code, "message": f"{TO} is wrong"}), place)
    assert (error.code, error.kind) == (code, CODES[code][0])
    assert len(asked) == (4 if error.kind == "back_off" else 1)
    assert f"errors/{code}" in str(error)
    assert TO not in str(error)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, '{"code": 99999}', "permanent"),
        (400, "not json", "permanent"),
        (401, "", "settings"),
        (403, '{"code": null}', "settings"),
        (404, "[" * 100_000, "permanent"),
        (408, "", "unknown"),
        (429, "", "back_off"),
        (302, "", "settings"),
        (304, "", "unknown"),
        (599, '{"code": 21211}', "unknown"),
    ],
)
def test_other_answers_are_judged_by_their_status(status, body, kind):
    assert error_of(status, body).kind == kind


def test_ending_a_call_may_be_asked_twice_new_instructions_may_not():
    fault, done = answer(500), answer(200, {"sid": CALL, "status": "completed"})
    _, asked, _ = against(in_turn(fault, done), lambda rest: rest.update_call(CALL, status="completed"))
    assert [each.form for each in asked] == [{"Status": ["completed"]}] * 2
    error, asked, _ = against(in_turn(fault, done), lambda rest: rest.update_call(CALL, twiml="<Response/>"))
    assert (error.kind, [each.form for each in asked]) == ("unknown", [{"Twiml": ["<Response/>"]}])
    over, _, _ = against(lambda _: answer(400, {"code": 21220}), lambda rest: rest.update_call(CALL, status="canceled"))
    assert over.kind == "over"


def test_calls_to_a_number_are_listed_from_a_moment_on():
    def call(number, created, **more):
        return {
            "sid": f"CA{number:032}",
            "status": "completed",
            "to": TO,
            "from": FROM,
            "date_created": created,
            **more,
        }

    page = {
        "calls": [
            call(1, "Sat, 21 Nov 2026 14:00:05 +0000", answered_by="human", duration="61", direction="outbound-api"),
            call(2, "Sat, 21 Nov 2026 13:00:00 +0000"),
            call(3, None),
        ],
        "next_page_uri": None,
    }
    since = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
    (found,), (asked,), _ = against(
        lambda _: answer(200, page), lambda rest: rest.list_calls(to=TO, from_number=FROM, since=since)
    )
    assert (asked.query["To"], asked.query["From"]) == ([TO], [FROM])
    assert (found.sid, found.duration_s, found.answered_by) == (f"CA{1:032}", 61, "human")
    assert found.created_at == datetime(2026, 11, 21, 14, 0, 5, tzinfo=UTC)
    assert TO not in repr(found)


def test_numbers_are_listed_and_pointed_elsewhere():
    row = {
        "sid": "PN" + "3" * 32,
        "phone_number": FROM,
        "voice_url": "https://old.example.com",
        "status_callback": None,
    }
    (number,), _, _ = against(
        lambda _: answer(200, {"incoming_phone_numbers": [row], "next_page_uri": None}),
        lambda rest: rest.list_numbers(),
    )
    assert (number.number, number.voice_url, number.status_callback) == (FROM, "https://old.example.com", "")
    changed, (asked,), _ = against(
        lambda _: answer(200, row | {"voice_url": "https://new.example.com"}),
        lambda rest: rest.update_number(number.sid, voice_url="https://new.example.com", status_callback="https://s"),
    )
    assert changed.voice_url == "https://new.example.com"
    assert asked.path.endswith(f"/IncomingPhoneNumbers/{number.sid}.json")
    assert asked.form["VoiceApplicationSid"] == [""]


def test_the_account_tells_how_it_is_and_what_time_it_has():
    async def use(rest):
        return await rest.fetch_account(), rest.heard_at

    told = answer(200, {"sid": ACCOUNT, "status": "active", "type": "Trial"}, Date="Sat, 21 Nov 2026 14:00:05 GMT")
    (account, heard_at), _, _ = against(lambda _: told, use)
    assert (account.sid, account.status, account.type) == (ACCOUNT, "active", "Trial")
    assert heard_at == datetime(2026, 11, 21, 14, 0, 5, tzinfo=UTC)


def test_a_proxy_of_the_environment_is_used_and_one_that_refuses_has_dialled_nobody(monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def scenario():
        async with HttpEndpoint(lambda _: answer(407)) as proxy:
            monkeypatch.setenv("https_proxy", proxy.url)
            async with TwilioRest(settings("https://api.twilio.example"), limits=RestLimits(tries_max=1)) as rest:
                with pytest.raises(TwilioRestError) as refused:
                    await rest.place_call(DIAL)
            assert refused.value.kind == "back_off"
            assert [(each.method, each.target) for each in proxy.asked] == [("CONNECT", "api.twilio.example:443")]

    asyncio.run(scenario())


def test_nothing_that_it_logs_holds_a_number_or_a_secret(caplog):
    caplog.set_level(0)
    against(in_turn(answer(429, {"code": 20429}), CREATED), place)
    against(lambda _: answer(200, {"calls": []}), lambda rest: rest.list_calls(to=TO, since=datetime.now(UTC)))
    assert not [r for r in caplog.records if "2671" in r.getMessage() or "secret" in r.getMessage()]
    assert "2671" in repr(DIAL)
    assert TO not in repr(DIAL)
