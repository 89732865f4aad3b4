"""The way to a model that is lost, refuses, comes back, or is changed for another: real sockets, short pauses."""

import asyncio
import contextlib
import logging

import pytest
from support.loopback_model import LoopbackModel
from support.quiet import quietly, until

from realtime_bridge.errors import InternalError, MisuseError, TransportError
from realtime_bridge.transport.base import ModelConnected, ModelLost, SpareReady
from realtime_bridge.transport.model_link import LinkLimits, ModelLink
from realtime_bridge.transport.model_socket import ModelSocket
from realtime_bridge.transport.spare import SpareModel

QUICK = LinkLimits(pause_s_first=0.01, pause_s_max=0.02, give_up_s=0.2, steady_s=10.0)
PATIENT = LinkLimits(pause_s_first=60.0, pause_s_max=60.0, give_up_s=600.0)
CONFIG = {"audio": {"output": {"format": {"type": "audio/pcmu"}}}}
HELLO = b'{"type":"hello"}'
on_both_loops = quietly("asyncio", "uvloop", keeps=(ModelSocket, ModelLink, SpareModel))
on_uvloop = quietly(keeps=(ModelSocket, ModelLink, SpareModel))


class Linked(ModelLink):
    """A link, and what it tells: `seen` holds frames and reports in order."""

    def __init__(self, open_model, limits=QUICK):
        self.seen = []
        self._news = asyncio.Event()
        super().__init__(open_model, on_frame=self._note, report=self._note, limits=limits)

    def _note(self, what):
        self.seen.append(what)
        self._news.set()

    async def __aenter__(self):
        await self.open()
        return self

    async def __aexit__(self, *_):
        await self.close()

    def reports(self, kind):
        return [what for what in self.seen if isinstance(what, kind)]

    async def sees(self, kind, count=1):
        async with asyncio.timeout(60):
            while len(self.reports(kind)) < count:
                self._news.clear()
                await self._news.wait()
        return self.reports(kind)[count - 1]


async def frames_reach(link, call):
    """Both ways."""
    link.send(HELLO)
    await call.expect("hello")
    before = len(link.reports(bytes))
    await call.say({"type": "answer"})
    await link.sees(bytes, before + 1)


# ---- opening -----------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_link_tells_that_it_is_up_before_the_model_s_first_word():
    async with (
        LoopbackModel(first_words=['{"type":"session.created","session":{}}']) as model,
        Linked(model.open_model) as link,
    ):
        await link.sees(bytes)
        assert link.seen == [ModelConnected(attempt=1), b'{"type":"session.created","session":{}}']
        await frames_reach(link, await model.call())


@on_uvloop
async def test_the_first_attempt_is_the_only_one():
    async with LoopbackModel(refuse=500) as model:
        link = Linked(model.open_model)
        with pytest.raises(TransportError, match="HTTP 500"):
            await link.open()
        assert (model.attempts, link.seen, link.is_up) == (1, [], False)
        with pytest.raises(MisuseError, match="make a new one"):
            await link.open()
        await link.close()


@on_both_loops
async def test_a_model_that_closes_as_soon_as_it_opens_is_a_failed_attempt():
    async with LoopbackModel(first_words=[], then_closes=(3000, "invalid_request_error.invalid_api_key")) as model:
        link = Linked(model.open_model)
        with contextlib.suppress(TransportError):  # or told as a loss: that depends on how its bytes were cut
            await link.open()
            await link.sees(ModelLost)
        assert not link.is_up
        assert all(not lost.retryable for lost in link.reports(ModelLost))
        await link.close()
        assert model.attempts == 1


@on_uvloop
async def test_a_link_closed_while_it_opens_opens_nothing():
    async with LoopbackModel() as model:
        link = Linked(model.open_model)
        opening = asyncio.create_task(link.open())
        await asyncio.sleep(0)
        link.close_soon()
        with pytest.raises(TransportError, match="closed while"):
            await opening
        assert link.seen == []


# ---- coming back -------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_lost_model_is_reached_again():
    async with LoopbackModel() as model, Linked(model.open_model) as link:
        (await model.call()).drop()
        call = await model.call()
        await link.sees(ModelConnected, 2)
        assert [type(what) for what in link.seen] == [ModelConnected, ModelLost, ModelConnected]
        assert link.seen[-1].attempt == 2
        await frames_reach(link, call)


@on_uvloop
async def test_pauses_grow_until_the_model_is_back():
    async with LoopbackModel() as model:
        limits = LinkLimits(pause_s_first=0.02, pause_s_max=0.04, give_up_s=5.0)
        async with Linked(model.open_model, limits) as link:
            call = await model.call()
            model.refuse = 503
            began = asyncio.get_running_loop().time()
            call.drop()
            await until(lambda: model.attempts == 5)
            waited_s = asyncio.get_running_loop().time() - began
            assert waited_s >= 0.5 * (0.02 + 0.04 + 0.04)  # at once, then three pauses
            model.refuse = None
            assert (await link.sees(ModelConnected, 2)).attempt == model.attempts
            assert len(link.reports(ModelLost)) == 1


@on_uvloop
async def test_a_model_that_stays_away_is_given_up(caplog):
    async with LoopbackModel() as model, Linked(model.open_model) as link:
        call = await model.call()
        model.refuse = 503
        call.drop()
        lost = await link.sees(ModelLost, 2)
        assert not lost.retryable
        assert lost.code == 503
        assert "then: the model refused the connection: HTTP 503" in lost.message
        assert model.attempts > 3
        assert "given up" in caplog.text


@pytest.mark.parametrize("code", [1008, 3000])
@on_uvloop
async def test_a_model_that_closes_for_good_is_not_tried_again(code):
    async with LoopbackModel() as model, Linked(model.open_model) as link:
        await (await model.call()).close(code, "no")
        assert not (await link.sees(ModelLost)).retryable
        assert not link.is_up
        await asyncio.sleep(0.03)  # what is tried is that nothing happens in it
        assert model.attempts == 1


@on_uvloop
async def test_a_refusal_for_good_ends_the_attempts_at_once():
    async with LoopbackModel() as model, Linked(model.open_model, LinkLimits(give_up_s=600.0)) as link:
        call = await model.call()
        model.refuse = 401
        call.drop()
        lost = await link.sees(ModelLost, 2)
        assert (lost.retryable, lost.code) == (False, 401)
        assert model.attempts == 2


@on_both_loops
async def test_a_model_that_accepts_and_closes_again_is_not_hammered():
    async with LoopbackModel() as model, Linked(model.open_model) as link:
        call = await model.call()
        model.then_closes = (1011, "overloaded")
        call.drop()
        async with asyncio.timeout(60):
            while (lost := await link.sees(ModelLost, len(link.reports(ModelLost)) + 1)).retryable:
                pass
        assert "1011 overloaded" in lost.message
        assert model.attempts <= 2 + 0.2 / (0.5 * QUICK.pause_s_first)


@on_uvloop
async def test_after_a_steady_while_trouble_begins_anew():
    async with LoopbackModel() as model:
        limits = LinkLimits(pause_s_first=0.01, pause_s_max=0.01, give_up_s=0.05, steady_s=0.0)
        async with Linked(model.open_model, limits) as link:
            for times in range(1, 9):  # longer in all than it is tried for
                (await model.call()).drop()
                await link.sees(ModelConnected, times + 1)
            assert len(link.reports(ModelLost)) == 8


@on_uvloop
async def test_whatever_an_attempt_raises_the_end_is_told(caplog):
    async with LoopbackModel() as model:

        async def open_model(**callbacks):
            if model.attempts:
                raise ZeroDivisionError("a bug")
            return await model.open_model(**callbacks)

        async with Linked(open_model) as link:
            (await model.call()).drop()
            lost = await link.sees(ModelLost, 2)
            assert not lost.retryable
            assert "a bug" in lost.message
            assert "ZeroDivisionError" in caplog.text


@on_both_loops
async def test_closing_ends_the_attempts():
    async with LoopbackModel() as model, Linked(model.open_model, PATIENT) as link:
        call = await model.call()
        model.refuse = 503
        call.drop()
        await until(lambda: model.attempts == 2)
        await link.close()
        assert link.reports(ModelConnected) == [ModelConnected(attempt=1)]
    assert model.attempts == 2


@on_both_loops
async def test_closing_during_an_attempt_leaves_no_connection():
    for turns in range(0, 30, 2):
        async with LoopbackModel() as model:
            async with Linked(model.open_model) as link:
                (await model.call()).drop()
                await link.sees(ModelLost)
                for _ in range(turns):
                    await asyncio.sleep(0)
            seen = len(link.seen)
            await asyncio.sleep(0)
            assert len(link.seen) == seen


@on_uvloop
async def test_frames_for_a_model_that_is_away_are_dropped():
    async with LoopbackModel() as model, Linked(model.open_model, PATIENT) as link:
        call = await model.call()
        model.refuse = 503
        call.drop()
        await link.sees(ModelLost)
        link.send(HELLO)
        assert not link.is_up


@on_uvloop
async def test_a_session_of_no_use_is_left_for_another_one():
    async with LoopbackModel() as model, Linked(model.open_model) as link:
        first = await model.call()
        link.drop(ModelLost(message="it does not confirm"))
        await first.ended.wait()
        await link.sees(ModelConnected, 2)
        await frames_reach(link, await model.call())
        link.drop(ModelLost(message="it speaks another format", retryable=False))
        assert link.reports(ModelLost)[-1].message == "it speaks another format"
        assert not link.is_up
    assert model.attempts == 2


# ---- the spare ---------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_spare_takes_over_and_the_old_session_is_heard_no_more():
    async with LoopbackModel() as model, Linked(model.open_model) as link:
        old = await model.call()
        link.rotate(CONFIG)
        spare = await model.call()
        update = await spare.expect("session.update")
        assert update["session"] == {"type": "realtime", **CONFIG}
        await link.sees(SpareReady)
        await frames_reach(link, old)
        before = list(link.seen)
        assert link.switch()
        await old.say({"type": "too late"})
        await old.ended.wait()
        assert old.socket.close_code == 1000
        assert link.seen == before
        await frames_reach(link, spare)
        spare.drop()
        await link.sees(ModelConnected, 2)
        await frames_reach(link, await model.call())


@on_uvloop
async def test_a_spare_session_says_when_it_will_end():
    created = '{"type":"session.created","session":{"expires_at":1800000000}}'
    async with LoopbackModel(first_words=[created]) as model, Linked(model.open_model) as link:
        link.rotate(CONFIG)
        await link.sees(SpareReady)
        assert link.reports(SpareReady) == [SpareReady(expires_at=1_800_000_000)]


@on_both_loops
async def test_frames_of_the_old_session_that_have_come_already_are_not_heard_after_the_switch():
    async with LoopbackModel() as model, Linked(model.open_model) as link:
        old = await model.call()
        link.rotate(CONFIG)
        await link.sees(SpareReady)
        await old.say(*({"type": "late"} for _ in range(100)))
        link.switch()
        seen = len(link.seen)
        await old.ended.wait()
        assert len(link.seen) == seen


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ({"refuse": 503}, "HTTP 503"),
        ({"confirms": False}, "did not confirm"),
        ({"first_words": ['{"type":"error","error":{"type":"x","message":"not you"}}']}, "not you"),
        ({"then_closes": (1013, "later")}, "1013 later"),
        ({"first_words": ["nonsense"], "confirms": False}, "malformed"),
    ],
    ids=["refused", "silent", "error", "closed", "nonsense"],
)
@on_uvloop
async def test_a_spare_that_fails_is_given_up_and_the_running_session_goes_on(trouble, told, caplog):
    async with LoopbackModel() as model, Linked(model.open_model, LinkLimits(spare_ready_s_max=0.1)) as link:
        running = await model.call()
        for name, value in trouble.items():
            setattr(model, name, value)
        link.rotate(CONFIG)
        await until(lambda: told in caplog.text)
        await frames_reach(link, running)
        assert link.reports(SpareReady) == []
        for name, value in {"refuse": None, "confirms": True, "first_words": [], "then_closes": None}.items():
            setattr(model, name, value)
        link.rotate(CONFIG)
        await link.sees(SpareReady)


@on_uvloop
async def test_asking_again_for_a_spare_gives_the_first_one_up():
    async with LoopbackModel() as model, Linked(model.open_model) as link:
        await model.call()
        link.rotate(CONFIG)
        first = await model.call()
        await link.sees(SpareReady)
        link.rotate(CONFIG)
        link.rotate(CONFIG)
        await link.sees(SpareReady, 2)
        await first.ended.wait()
        assert first.socket.close_code == 1000


@on_uvloop
async def test_switching_needs_a_spare_that_is_ready():
    async with LoopbackModel(confirms=False) as model, Linked(model.open_model) as link:
        with pytest.raises(InternalError, match="no spare"):
            link.switch()
        link.rotate(CONFIG)
        with pytest.raises(InternalError, match="not ready"):
            link.switch()


@on_uvloop
async def test_a_spare_lost_while_it_waited_is_a_lost_model_after_the_switch():
    async with LoopbackModel() as model, Linked(model.open_model) as link:
        await model.call()
        link.rotate(CONFIG)
        spare = await model.call()
        await link.sees(SpareReady)
        await spare.close(1001, "bored")
        await spare.ended.wait()
        await asyncio.sleep(0)
        link.switch()
        assert "1001 bored" in (await link.sees(ModelLost)).message
        await link.sees(ModelConnected, 2)


@on_uvloop
async def test_switching_when_the_running_session_was_just_lost_leaves_one_session():
    async with LoopbackModel() as model, Linked(model.open_model) as link:
        running = await model.call()
        link.rotate(CONFIG)
        spare = await model.call()
        await link.sees(SpareReady)
        running.drop()
        await link.sees(ModelLost)
        assert not link.switch()
        await spare.ended.wait()
        await link.sees(ModelConnected, 2)
        await frames_reach(link, await model.call())


@on_uvloop
async def test_closing_closes_the_spare_too():
    async with LoopbackModel() as model:
        async with Linked(model.open_model) as link:
            await model.call()
            link.rotate(CONFIG)
            spare = await model.call()
            await link.sees(SpareReady)
        await spare.ended.wait()
        assert spare.socket.close_code == 1000
        link.rotate(CONFIG)
        assert logging.getLogger("realtime_bridge").level == logging.NOTSET
    assert model.attempts == 2
