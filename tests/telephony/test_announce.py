"""Announcements over real HTTP: signed as receivers check them, tried again, bounded, to one address only."""

import asyncio
import contextlib
import json
import time

import pytest
from openai import AsyncOpenAI, InvalidWebhookSignatureError

from realtime_bridge.errors import MisuseError
from telephony.announce import WAITING_MAX, Announcer

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver:
    """Answers each post with the next of `statuses`, then with 204."""

    def __init__(self, *statuses, location=None):
        self.statuses, self.location, self.posts = list(statuses), location, []
        self.came = asyncio.Event()
        self.hold = None

    async def serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        headers |= {
            k: v for k, v in (line.split(": ", 1) for line in lines[1:] if ": " in line) if k.startswith("webhook")
        }
        body = await reader.readexactly(int(headers["content-length"]))
        self.posts.append((lines[0], headers, body))
        self.came.set()
        if self.hold is not None:
            await self.hold.wait()
        status = self.statuses.pop(0) if self.statuses else 204
        where = f"location: {self.location}\r\n" if self.location else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{where}content-length: 0\r\nconnection: close\r\n\r\n".encode())
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    async def posted(self, count):
        while len(self.posts) < count:
            self.came.clear()
            await self.came.wait()


@contextlib.asynccontextmanager
async def receiving(receiver, secret=SECRET, **settings):
    async with await asyncio.start_server(receiver.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        announcer = Announcer(f"http://127.0.0.1:{port}/hook", secret, **settings)
        try:
            yield announcer
        finally:
            await announcer.close(wait_s=0.2)


def run(main):
    asyncio.run(asyncio.wait_for(main, 120))


@pytest.mark.parametrize("secret", [SECRET, "sixteen or more letters"])
def test_a_receiver_finds_the_signature_right_and_a_changed_body_wrong(secret):
    async def main():
        receiver = Receiver()
        async with receiving(receiver, secret) as announcer:
            announcer.announce("apr_1", "approval.requested", {"tool": "refund", "arguments": '{"who":"Jürgen"}'})
            await receiver.posted(1)
        line, headers, body = receiver.posts[0]
        assert line == "POST /hook HTTP/1.1"
        assert headers["webhook-id"] == "apr_1"
        assert json.loads(body)["data"] == {"tool": "refund", "arguments": '{"who":"Jürgen"}'}
        async with AsyncOpenAI(api_key="none") as client:
            client.webhooks.verify_signature(body, headers, secret=secret)
            with pytest.raises(InvalidWebhookSignatureError):
                client.webhooks.verify_signature(body + b" ", headers, secret=secret)

    run(main())


def test_a_refused_announcement_is_tried_again_under_the_same_id_and_a_fresh_time():
    async def main():
        receiver, now = Receiver(500, 429, 302), [time.time()]

        def clock():
            now[0] += 1
            return now[0]

        async with receiving(receiver, delays_s=(0.01,) * 5, clock=clock) as announcer:
            announcer.announce("apr_1", "approval.requested", {})
            await receiver.posted(4)
        assert len(receiver.posts) == 4, "the fourth was taken"
        assert {headers["webhook-id"] for _, headers, _ in receiver.posts} == {"apr_1"}
        assert len({headers["webhook-timestamp"] for _, headers, _ in receiver.posts}) == 4

    run(main())


def test_a_receiver_that_is_gone_is_left_alone_and_one_that_redirects_is_not_followed(caplog):
    async def main():
        elsewhere = Receiver()
        async with await asyncio.start_server(elsewhere.serve, "127.0.0.1", 0) as other:
            port = other.sockets[0].getsockname()[1]
            receiver = Receiver(307, 410, location=f"http://127.0.0.1:{port}/")
            async with receiving(receiver, delays_s=(0.01,) * 5) as announcer:
                announcer.announce("apr_1", "approval.requested", {})
                await receiver.posted(2)
        assert (len(receiver.posts), elsewhere.posts) == (2, [])

    run(main())
    assert "approval.requested apr_1 was not announced" in caplog.text
    assert SECRET not in caplog.text


def test_what_nobody_wants_to_know_any_more_is_not_sent(caplog):
    async def main():
        receiver = Receiver()
        async with receiving(receiver) as announcer:
            announcer.announce("apr_1", "approval.requested", {}, until=time.time() - 1)
        assert receiver.posts == []

    run(main())
    assert "too late" in caplog.text


def test_announcing_never_waits_and_has_a_limit(caplog):
    async def main():
        receiver = Receiver()
        receiver.hold = asyncio.Event()
        async with receiving(receiver) as announcer:
            began = time.monotonic()
            for number in range(WAITING_MAX + 1):
                announcer.announce(f"apr_{number}", "approval.requested", {})
            assert time.monotonic() - began < 10
            await receiver.posted(1)
            receiver.hold.set()

    run(main())
    assert f"apr_{WAITING_MAX} is not announced" in caplog.text


@pytest.mark.parametrize("secret", ["", "short", "whsec_not base64!", "whsec_AAAA"])
def test_a_secret_that_protects_nothing_is_refused(secret):
    with pytest.raises(MisuseError, match="secret"):
        Announcer("http://127.0.0.1/", secret)
