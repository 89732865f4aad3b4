"""The voice webhook and health, over real HTTP."""

import asyncio
import contextlib
import re
import urllib.parse
from xml.etree import ElementTree as ET

import pytest
from support.numbers import Numbers
from support.phone_server import CALL, PUBLIC_URL, TOKEN, both_loops, http, plain, serving
from twilio.request_validator import RequestValidator

from realtime_bridge.errors import MisuseError, TransportError
from telephony import server as server_module
from telephony.app import create_app
from telephony.server import PhoneServer
from telephony.settings import SettingsError
from telephony.webhooks.requests import FORM_BYTES_MAX

SIGNED = plain(twilio_auth_token=TOKEN, public_url=PUBLIC_URL + "/line")


def sign(target: str, form: dict) -> dict:
    return {"X-Twilio-Signature": RequestValidator(TOKEN).compute_signature(SIGNED.public_url + target, form)}


def never(start, line):
    raise AssertionError("no call is expected")


def on_loopback(test):
    """Run an async test on asyncio's own loop."""

    def run():
        asyncio.run(asyncio.wait_for(test(), 120))

    run.__doc__ = test.__doc__
    return run


@on_loopback
async def test_a_call_is_sent_to_the_media_socket_with_a_token_of_its_own():
    async with serving() as (server, _):
        documents = [await http(server.url + "/twilio/voice", {"CallSid": sid}) for sid in ("CA1", "CA2")]
    tokens = set()
    for status, document in documents:
        stream = ET.fromstring(document).find("Connect/Stream")
        assert status == 200
        assert stream.get("url") == server.url.replace("http", "ws", 1) + "/twilio/media"
        tokens.add(stream.find("Parameter[@name='token']").get("value"))
    assert len(tokens) == 2
    assert all(re.fullmatch(r"[\w-]{43}", token) for token in tokens)


@on_loopback
async def test_behind_a_proxy_the_stream_goes_to_the_public_url():
    async with serving(SIGNED) as (server, _):
        form = {"CallSid": CALL, "From": "+4930", "CallerName": "Jürgen & Söhne", "Empty": ""}
        target = "/twilio/voice?number=%2B4930&x=a%20b"
        status, document = await http(server.url + target, form, sign(target, form))
        assert status == 200
        assert ET.fromstring(document).find("Connect/Stream").get("url") == "wss://phone.example.com/line/twilio/media"


@on_loopback
async def test_unsigned_forged_and_altered_webhooks_get_403():
    form = {"CallSid": CALL, "From": "+4930"}
    target = "/twilio/voice"
    numbers = Numbers()
    async with serving(SIGNED) as (server, _):
        for headers, sent in (
            ({}, form),
            ({"X-Twilio-Signature": "x"}, form),
            (sign(target, {**form, "From": "+1"}), form),
            (sign("/twilio/other", form), form),
            (sign(target, form) | {"X-Forwarded-Host": "phone.example.com"}, {**form, "CallSid": "CA9"}),
        ):
            status, body = await http(server.url + target, sent, headers)
            assert (status, "Stream" in body) == (403, False)
        assert server.media.tokens.expected(0) == 0
        assert numbers.added("webhooks_refused_total", status="403") == 5


@on_loopback
async def test_without_an_auth_token_only_requests_to_loopback_names_are_answered():
    async with serving() as (server, _):
        status, body = await http(server.url + "/twilio/voice", {"CallSid": CALL}, {"Host": "rebound.example.com"})
        assert (status, "Stream" in body) == (403, False)
        port = server.url.rpartition(":")[2]
        assert (await http(server.url + "/twilio/voice", {"CallSid": CALL}, {"Host": f"localhost:{port}"}))[0] == 200


@on_loopback
async def test_bodies_that_are_no_webhook_are_refused():
    async with serving() as (server, _):
        voice = server.url + "/twilio/voice"
        many = urllib.parse.urlencode({f"a{number}": "" for number in range(1000)}).encode()
        for body, expected in (
            (b"", 400), (b"CallSid=", 400), (b"CallSid=a%22%3E%3Cb", 400), (b"CallSid=" + b"C" * 65, 400),
            (b"\xff\xfe", 400), (many, 400), (b"CallSid=CA1&a=" + b"x" * FORM_BYTES_MAX, 413),
        ):  # fmt: skip
            assert (await http(voice, body))[0] == expected
        assert (await http(voice))[0] == 405
        assert (await http(voice, b"CallSid=CA1"))[0] == 200


@on_loopback
async def test_an_address_in_use_is_told():
    async with serving() as (server, _):
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(TransportError, match=f"cannot listen on 127.0.0.1, port {port}"):
            async with PhoneServer(create_app(answer=never, settings=plain()), port=port):
                raise AssertionError


@on_loopback
async def test_what_an_application_raises_at_its_start_reaches_whoever_starts_it():
    app, ends = create_app(answer=never, settings=plain()), []

    @contextlib.asynccontextmanager
    async def failing(app):
        raise MisuseError("no agent")
        yield

    @contextlib.asynccontextmanager
    async def working(app):
        yield
        ends.append(app)

    app.router.lifespan_context = failing
    with pytest.raises(MisuseError, match="no agent"):
        async with PhoneServer(app):
            raise AssertionError
    app.router.lifespan_context = working
    async with PhoneServer(app) as server:
        assert (await http(server.url + "/healthz"))[0] == 200
        assert ends == []
    assert ends == [app]


def test_a_server_that_cannot_tell_strangers_does_not_listen_to_them():
    with pytest.raises(SettingsError, match="HOST"):
        PhoneServer(create_app(answer=never, settings=plain()), host="0.0.0.0")
    with pytest.raises(SettingsError, match="PUBLIC_URL"):
        create_app(answer=never, settings=plain(twilio_auth_token="x"))


@on_loopback
async def test_a_server_listens_on_ipv6_too():
    async with PhoneServer(create_app(answer=never, settings=plain()), host="::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert (await http(server.url + "/healthz"))[0] == 200


@both_loops
async def test_however_many_connections_never_ask_for_anything_those_that_do_are_answered():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(server_module, "SILENT_CONNECTIONS_MAX", 5)
        async with serving() as (server, _):
            host, port = server.url.removeprefix("http://").split(":")
            silent = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
            assert (await http(server.url + "/healthz"))[0] == 200
            for reader, _ in silent[:15]:
                with contextlib.suppress(ConnectionResetError):
                    assert await asyncio.wait_for(reader.read(), 60) == b""
            assert server.http_connections <= 6
            for _, writer in silent:
                writer.close()


@both_loops
async def test_a_connection_that_never_asks_for_anything_is_closed():
    patience, server_module.FIRST_REQUEST_SECONDS_MAX = server_module.FIRST_REQUEST_SECONDS_MAX, 0.2
    try:
        async with serving() as (server, _):
            host, port = server.url.removeprefix("http://").split(":")
            silent, _writer = await asyncio.open_connection(host, int(port))
            slow, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
            assert await asyncio.wait_for(silent.read(), 60) == b""
            assert await asyncio.wait_for(slow.read(), 60) == b""
            _writer.close()
            writer.close()
    finally:
        server_module.FIRST_REQUEST_SECONDS_MAX = patience
