"""X-Twilio-Signature over the URL as Twilio wrote it: ports, percent signs, prefixes, repeated parameters."""

from urllib.parse import parse_qsl

import pytest
from starlette.datastructures import ImmutableMultiDict
from twilio.request_validator import RequestValidator

from telephony.twilio.signature import SignatureCheck, websocket_url

TOKEN = "12345"


def form(body: str = "") -> ImmutableMultiDict:
    return ImmutableMultiDict(parse_qsl(body, keep_blank_values=True))


def sign(url: str, body: str = "") -> str:
    return RequestValidator(TOKEN).compute_signature(url, form(body))


def test_the_example_of_twilios_documentation_is_accepted():
    """https://www.twilio.com/docs/usage/security"""
    check = SignatureCheck(TOKEN, "https://mycompany.com")
    body = "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212"
    assert check.webhook("/myapp.php?foo=1&bar=2", form(body), "RSOYDt4T1cUTdK1PDd93/VVr8B8=")


@pytest.mark.parametrize("public_url", ["https://phone.example.com", "https://phone.example.com:8443", "http://[::1]:80",
                                        "https://example.com/phone", "https://example.com/phone/"])  # fmt: skip
@pytest.mark.parametrize("target", ["/twilio/voice", "/v?to=%2B4930&x=a%20b+c", "/v?a=1&a=1&empty=", "/a%2Fb", "/v?"])
def test_the_url_is_taken_raw_behind_any_origin(public_url, target):
    check = SignatureCheck(TOKEN, public_url)
    url = public_url.rstrip("/") + target
    body = "From=%2B4930&Empty=&Multi=b&Multi=a&Name=J%C3%BCrgen"
    assert check.webhook(target, form(body), sign(url, body))
    assert check.upgrade(target, sign("ws" + url.removeprefix("http")))


@pytest.mark.parametrize(
    ("public_url", "signed_origin"),
    [
        ("https://phone.example.com", "https://phone.example.com:443"),
        ("https://phone.example.com:443", "https://phone.example.com"),
        ("https://phone.example.com:8443", "https://phone.example.com"),
        ("http://phone.example.com", "http://phone.example.com:80"),
        ("http://[::1]:8080", "http://[::1]"),
    ],
)
def test_twilio_may_write_the_port_out_or_leave_it_out(public_url, signed_origin):
    check = SignatureCheck(TOKEN, public_url)
    assert check.webhook("/v?x=:8443", form("a=b"), sign(signed_origin + "/v?x=:8443", "a=b"))
    assert check.upgrade("/twilio/media", sign(websocket_url(signed_origin) + "/twilio/media"))


def test_the_default_port_of_wss_is_443():
    check = SignatureCheck(TOKEN, "https://phone.example.com")
    assert check.upgrade("/twilio/media", sign("wss://phone.example.com:443/twilio/media"))
    assert not check.upgrade("/twilio/media", sign("wss://phone.example.com:80/twilio/media"))


BODY = "CallSid=CA1&From=%2B1"
URL = "https://phone.example.com/twilio/voice"


@pytest.mark.parametrize(
    ("target", "body", "signature"),
    [
        ("/twilio/voice", BODY, None),
        ("/twilio/voice", BODY, ""),
        ("/twilio/voice", BODY, "x"),
        ("/twilio/voice", BODY, "\udcff"),
        ("/twilio/voice", BODY, RequestValidator("other").compute_signature(URL, form(BODY))),
        ("/twilio/voice", BODY + "&To=1", sign(URL, BODY)),
        ("/twilio/voice", "CallSid=CA2&From=%2B1", sign(URL, BODY)),
        ("/twilio/voice", "", sign(URL, BODY)),
        ("/twilio/voice?x=1", BODY, sign(URL, BODY)),
        ("/twilio/voice?to=+1", BODY, sign(URL + "?to=%2B1", BODY)),
        ("/twilio/voice", BODY, sign(URL.replace("phone", "other"), BODY)),
        ("/twilio/voice", BODY, sign(URL.replace("https", "http"), BODY)),
        ("/twilio/voice", BODY, sign(URL.replace("https", "wss"), BODY)),
        ("/twilio/voice", BODY, sign(URL.replace(".com", ".com:8443"), BODY)),
    ],
)
def test_everything_else_is_refused(target, body, signature):
    assert not SignatureCheck(TOKEN, "https://phone.example.com").webhook(target, form(body), signature)


def test_socket_urls():
    assert websocket_url("https://a.b:8/c") == "wss://a.b:8/c"
    assert websocket_url("http://httpd") == "ws://httpd"
