"""Connections opened ahead of their calls, in virtual time."""

import asyncio

import pytest

from realtime_bridge.errors import TransportError
from realtime_bridge.transport.base import ModelLost
from realtime_bridge.transport.waiting import WaitingModels
from telephony.testing import run_virtual


class Connection:
    def __init__(self, number, on_frame, on_lost):
        self.number, self.on_frame, self.on_lost, self.closed = number, on_frame, on_lost, False

    def listen(self, on_frame, on_lost):
        self.on_frame, self.on_lost = on_frame, on_lost

    def send(self, frame):
        pass

    async def close(self):
        self.closed = True


class Model:
    """Takes a second to open a connection, greets each, and may refuse."""

    def __init__(self):
        self.opened, self.refuses = [], []

    async def __call__(self, *, on_frame, on_lost):
        number = len(self.opened) + 1
        connection = Connection(number, on_frame, on_lost)
        self.opened.append(connection)
        await asyncio.sleep(1)
        if number in self.refuses:
            raise TransportError("no room")
        on_frame(b"hello %d" % number)
        return connection


def in_virtual_time(test):
    def run():
        run_virtual(test())

    return run


async def first(open_model, heard=None):
    frames = [] if heard is None else heard
    return await open_model(on_frame=frames.append, on_lost=lambda _: None)


@in_virtual_time
async def test_a_call_gets_the_connection_that_waits_with_all_it_has_said():
    model, heard = Model(), []
    models = WaitingModels(model)
    models.prepare()
    await asyncio.sleep(5)
    began = asyncio.get_running_loop().time()
    connection = await first(models.for_call(), heard)
    assert asyncio.get_running_loop().time() == began
    connection.on_frame(b"and more")
    assert heard == [b"hello 1", b"and more"]
    assert len(model.opened) == 1


@in_virtual_time
async def test_a_call_that_comes_early_waits_for_what_is_being_opened():
    clock = asyncio.get_running_loop().time
    models = WaitingModels(model := Model())
    began = clock()
    models.prepare()
    await asyncio.sleep(0.4)
    connection = await first(models.for_call())
    assert (connection.number, clock() - began) == (1, pytest.approx(1))
    assert len(model.opened) == 1


@in_virtual_time
async def test_only_the_first_connection_of_a_call_is_one_that_waits():
    models = WaitingModels(Model())
    models.prepare()
    models.prepare()
    open_model = models.for_call()
    assert [(await first(open_model)).number for _ in range(2)] == [1, 3]
    assert models.waiting == 1
    models.close()


@in_virtual_time
async def test_one_that_was_lost_or_refused_meanwhile_is_passed_over():
    model = Model()
    model.refuses = [2]
    models = WaitingModels(model)
    for _ in range(3):
        models.prepare()
    await asyncio.sleep(2)
    model.opened[0].on_lost(ModelLost(message="gone", retryable=True))
    assert (await first(models.for_call())).number == 3


@in_virtual_time
async def test_a_model_that_cannot_be_had_is_told_to_the_call():
    model = Model()
    model.refuses = [1, 2]
    models = WaitingModels(model)
    models.prepare()
    with pytest.raises(TransportError, match="no room"):
        await first(models.for_call())


@in_virtual_time
async def test_connections_that_nobody_takes_are_closed_and_their_number_is_bounded():
    model = Model()
    models = WaitingModels(model, wait_s_max=60, waiting_max=2)
    for _ in range(5):
        models.prepare()
    assert models.waiting == 2
    await asyncio.sleep(61)
    assert models.waiting == 0
    assert [c.closed for c in model.opened] == [True, True]


@in_virtual_time
async def test_closing_closes_what_waits_and_what_is_being_opened():
    model = Model()
    models = WaitingModels(model)
    models.prepare()
    await asyncio.sleep(2)
    models.prepare()
    await asyncio.sleep(0.5)
    models.close()
    await asyncio.sleep(2)
    assert model.opened[0].closed
    assert len(asyncio.all_tasks()) == 1
