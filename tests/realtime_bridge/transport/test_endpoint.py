"""Where a model is reached: what our upgrade request says, beside what the openai package itself would send."""

import asyncio
import contextlib
import ssl
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

import pytest
import trustme
from openai import AsyncAzureOpenAI, AsyncOpenAI, OpenAIError
from support.quiet import quietly
from websockets.asyncio.server import serve
from websockets.exceptions import InvalidStatus

from realtime_bridge.errors import MisuseError, TransportError
from realtime_bridge.transport.endpoint import realtime_endpoint
from realtime_bridge.transport.model_socket import ModelSocket

KEY = "sk-an-endpoint-s-key"
AUTHORITY = trustme.CA()
# What every WebSocket client says for itself (RFC 6455, section 4.1).
OF_THE_UPGRADE = {"host", "upgrade", "connection"}


class Door:
    """Notes each upgrade request and refuses it."""

    def __init__(self, *, tls=False):
        self.requests = []
        self._tls = tls

    async def __aenter__(self):
        context = None
        if self._tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            AUTHORITY.issue_cert("localhost").configure_cert(context)
        self._server = await serve(None, "localhost", 0, process_request=self._note, ssl=context)
        port = self._server.sockets[0].getsockname()[1]
        self.at = f"http{'s' if self._tls else ''}://localhost:{port}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    def _note(self, connection, request):
        path = urlsplit(request.path)
        headers = [(name.lower(), value) for name, value in request.headers.raw_items()]
        self.requests.append(
            (
                path.path,
                sorted(parse_qsl(path.query, keep_blank_values=True)),
                sorted(
                    (name, value)
                    for name, value in headers
                    if name not in OF_THE_UPGRADE and not name.startswith("sec-websocket")
                ),
            )
        )
        return connection.respond(HTTPStatus.UNAUTHORIZED, "")


async def both_requests(make_client, *, tls=False, **session):
    """(path, query, headers) as the openai package sends them, and as we do."""
    async with Door(tls=tls) as door:
        options = {}
        if tls:
            options["ssl"] = ssl.create_default_context()
            AUTHORITY.configure_trust(options["ssl"])
        client = make_client(door.at)
        with pytest.raises(InvalidStatus):
            await client.realtime.connect(websocket_connection_options=options, **session).enter()
        endpoint = await realtime_endpoint(make_client(door.at), **session)
        with pytest.raises(TransportError):
            await ModelSocket.open(endpoint, on_frame=print, on_lost=print)
        theirs, ours = door.requests
        return theirs, ours


async def fresh_key():
    return KEY


CLIENTS = {
    "base URL": lambda at: AsyncOpenAI(api_key=KEY, base_url=f"{at}/v1"),
    "base URL with a slash": lambda at: AsyncOpenAI(api_key=KEY, base_url=f"{at}/some/proxy/v1/"),
    "base URL with a query": lambda at: AsyncOpenAI(api_key=KEY, base_url=f"{at}/v1?tenant=a%20b&model=mine"),
    "WebSocket base": lambda at: AsyncOpenAI(
        api_key=KEY, base_url="http://elsewhere.invalid/v1", websocket_base_url=f"{at}/sockets"
    ),
    "WebSocket base, a URL of ws": lambda at: AsyncOpenAI(
        api_key=KEY, websocket_base_url=f"{at}/v1/".replace("http", "ws", 1)
    ),
    "organisation and project": lambda at: AsyncOpenAI(
        api_key=KEY, base_url=f"{at}/v1", organization="org-1", project="proj_1"
    ),
    "headers": lambda at: AsyncOpenAI(
        api_key=KEY, base_url=f"{at}/v1", default_headers={"X-Team": "phones", "User-Agent": "ours"}
    ),
    "another authorization": lambda at: AsyncOpenAI(
        api_key=KEY, base_url=f"{at}/v1", default_headers={"authorization": "Basic b3Vycw=="}
    ),
    "query": lambda at: AsyncOpenAI(
        api_key=KEY, base_url=f"{at}/v1", default_query={"region": "eu west", "beta": True, "tags": ["a", "b"]}
    ),
    "query that names a model": lambda at: AsyncOpenAI(
        api_key=KEY, base_url=f"{at}/v1", default_query={"model": "another", "x": "1"}
    ),
    "key from a function": lambda at: AsyncOpenAI(api_key=fresh_key, base_url=f"{at}/v1"),
    "Azure, v1 style": lambda at: AsyncOpenAI(api_key=KEY, base_url=f"{at}/openai/v1/"),
    "Azure, WebSocket base": lambda at: AsyncAzureOpenAI(
        api_key=KEY, api_version="2025-04-01-preview", azure_endpoint=at, websocket_base_url=f"{at}/openai".replace("http", "ws", 1)
    ),
}  # fmt: skip

# These speak TLS, whatever the endpoint's scheme.
AZURE_CLIENTS = {
    "deployment": lambda at: AsyncAzureOpenAI(
        api_key=KEY, api_version="2025-04-01-preview", azure_endpoint=at, azure_deployment="phones"
    ),
    "deployment named by the model": lambda at: AsyncAzureOpenAI(
        api_key=KEY, api_version="2025-04-01-preview", azure_endpoint=f"{at}/"
    ),
    "token": lambda at: AsyncAzureOpenAI(
        azure_ad_token=KEY, api_version="2025-04-01-preview", azure_endpoint=at, default_headers={"X-Team": "phones"}
    ),
    "token from a function": lambda at: AsyncAzureOpenAI(
        azure_ad_token_provider=fresh_key, api_version="2025-04-01-preview", azure_endpoint=at
    ),
}


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL", "OPENAI_CUSTOM_HEADERS", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def trusted(monkeypatch, tmp_path):
    """Connections of this process trust AUTHORITY."""
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
@quietly()
async def test_the_upgrade_is_what_the_openai_package_would_send(client):
    theirs, ours = await both_requests(client, model="gpt-realtime")
    assert ours == theirs
    assert any(KEY in value or value.startswith("Basic") for _, value in ours[2])


@pytest.mark.parametrize("client", AZURE_CLIENTS.values(), ids=AZURE_CLIENTS)
@quietly("asyncio")
async def test_azure_deployments_are_reached_as_the_openai_package_does(client, trusted):
    theirs, ours = await both_requests(client, tls=True, model="gpt-realtime")
    assert ours == theirs
    assert any(KEY in value for _, value in ours[2])


@quietly()
async def test_a_running_call_is_joined_by_its_id():
    theirs, ours = await both_requests(CLIENTS["organisation and project"], call_id="rtc_u0_9a/b&c")
    assert ours == theirs
    assert ours[1] == [("call_id", "rtc_u0_9a/b&c")]


@quietly()
async def test_either_a_model_or_a_call_must_be_named():
    client = AsyncOpenAI(api_key=KEY)
    for wrong in ({}, {"model": "m", "call_id": "c"}):
        with pytest.raises(MisuseError, match="either `model`"):
            await realtime_endpoint(client, **wrong)


@quietly()
async def test_a_key_function_that_fails_is_told_as_a_failed_connection():
    async def no_key():
        raise LookupError("the vault is sealed")

    with pytest.raises(TransportError, match="the vault is sealed") as caught:
        await realtime_endpoint(AsyncOpenAI(api_key=no_key), model="m")
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, LookupError)


@quietly()
async def test_a_key_function_that_never_returns_is_not_waited_for():
    client = AsyncOpenAI(api_key=asyncio.Event().wait)
    with pytest.raises(TransportError, match="no key within"):
        await realtime_endpoint(client, model="m", timeout_s=0.05)


@quietly()
async def test_a_key_with_a_line_break_is_refused_without_showing_it():
    client = AsyncOpenAI(api_key=f"{KEY}\n", base_url="http://127.0.0.1:1/v1")
    with contextlib.suppress(OpenAIError), pytest.raises(MisuseError, match="Authorization") as caught:
        await realtime_endpoint(client, model="m")
    assert KEY not in str(caught.value)


@quietly()
async def test_an_endpoint_does_not_show_its_key():
    endpoint = await realtime_endpoint(AsyncOpenAI(api_key=KEY), model="m")
    assert KEY in str(endpoint.headers)
    assert KEY not in f"{endpoint!r} {endpoint}"


def test_an_untrusted_certificate_is_not_tried_again():
    async def main():
        async with Door(tls=True) as door:
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server's end complains
            endpoint = await realtime_endpoint(AsyncOpenAI(api_key=KEY, base_url=f"{door.at}/v1"), model="m")
            with pytest.raises(TransportError, match="certificate") as caught:
                await ModelSocket.open(endpoint, on_frame=print, on_lost=print)
            assert not caught.value.retryable

    asyncio.run(main())
