"""What goes wrong in a phone house at night, with calls up: a model restarted, a database away, a deploy, a dead worker.

Each function has `count` callers on the line while it happens, and returns what they heard and what is known of their
calls afterwards. `night` runs them in order, in one house of two workers.
"""

import asyncio
import itertools
import os
import signal
import sqlite3
import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from support.phone_house import http, phone_house, plain_settings

from telephony.outbound.settlement import FINISH_AFTER, reconcile
from telephony.replay.tapes import find_tapes
from telephony.replay.verify import verify_tape
from telephony.testing import Pause
from telephony.testing.twilio import Human
from telephony.twilio.rest import TwilioRest

GREETING = "Front desk. " + " ".join(["word"] * 14)  # four seconds of it
SCRIPT = {
    "greeting": GREETING,
    "rules": [
        {"heard": ["the caller pressed 1 on the keypad"], "say": "I am still here."},
        {"heard": ["the caller pressed 9 on the keypad"], "say": "Goodbye then.", "call": "hang_up", "with": {"reason": "done"}},
    ],
}  # fmt: skip


class Callers:
    """People on the line, who press keys when they are told to."""

    def __init__(self, house, calls):
        self.house, self.calls = house, calls

    @classmethod
    async def ring(cls, house, count, numbers):
        calls = [await house.ring(Pause(600_000), from_=next(numbers)) for _ in range(count)]
        await asyncio.gather(*(call.until_heard(0.3) for call in calls))
        return cls(house, calls)

    async def press(self, digit):
        await asyncio.gather(*(call.press(digit + "#") for call in self.calls))

    async def answered(self, seconds=60):
        """Ask each agent whether it is there. How long each took to answer, in seconds; None for those that did not."""
        for call in self.calls:
            await call.until_silent(0.5)
        asked = time.monotonic()
        await self.press("1")
        return await asyncio.gather(*(self._answer(call, asked, seconds) for call in self.calls))

    async def _answer(self, call, asked, seconds):
        try:
            await call.until_heard(0.5, since=asked, timeout_s=seconds)
        except TimeoutError:
            return None
        return next(span.start for span in call.heard.audible if span.end > asked) - asked

    async def say_goodbye(self):
        await self.press("9")
        await asyncio.gather(*(call.until_status("completed") for call in self.calls))

    async def rows(self):
        return [await self.house.stored(call.sid) for call in self.calls]


async def night(directory, url, away, callers, tell=lambda _name, _facts: None, **settings):
    """All of it in one house; what each step found. `away`: makes the database at `url` useless while it is entered."""
    numbers = (f"+1415555{number:04}" for number in itertools.count(2000))
    options = {"WORKERS": "2", "DATABASE_URL": url, "DRAIN_SECONDS_MAX": "120", "SILENCE_SECONDS": "600", **settings}
    async with phone_house(directory, script=SCRIPT, **options) as house:
        if number := settings.get("OVERFLOW_NUMBER"):
            house.twilio.person(number, Human(), answers_after_s=0.5)
        steps = {
            "model": lambda: model_restarted(house, callers, numbers),
            "database": lambda: database_away(house, callers, numbers, away),
            "deploy": lambda: deployed(house, callers, numbers),
            "worker": lambda: worker_killed(house, callers, numbers),
            "stop": lambda: drained(house, callers, numbers),
        }
        found = {}
        for name, step in steps.items():
            try:
                found[name] = await step()
            except BaseException as e:
                e.add_note(f"---- the server's log\n{house.server.log[-8000:]}")
                raise
            tell(name, found[name])
        found["tapes"] = replayed(house, found["worker"]["killed_at"])
        tell("tapes", found["tapes"])
        return found


async def model_restarted(house, count, numbers):
    """The model's process is killed while it greets everybody, and started again when somebody else has rung in vain."""
    callers = await Callers.ring(house, count, numbers)
    await asyncio.sleep(1.5)
    await house.model.kill()
    newcomer = await house.ring(Pause(600_000), from_=next(numbers))
    await newcomer.until_said("something went wrong on our side. All our lines are busy", timeout_s=60)
    await house.model.start()
    took = await callers.answered()
    await callers.say_goodbye()
    rows = await callers.rows()
    greeted = [sum(line["text"].startswith("Front desk") for line in await transcript(house, row)) for row in rows]
    return {"answered": sum(t is not None for t in took), "greetings": Counter(greeted), "ends": ends(rows)}


async def database_away(house, count, numbers, away):
    """The database cannot be used for some seconds; in this time callers ask, and half of them hang up."""
    callers = await Callers.ring(house, count, numbers)
    with away():
        took = await callers.answered()
        gone, staying = Callers(house, callers.calls[::2]), Callers(house, callers.calls[1::2])
        await gone.say_goodbye()
        newcomer = await house.ring(Pause(600_000), from_=next(numbers))
        await newcomer.until_heard(0.3)
    await staying.say_goodbye()
    newcomer.hang_up()
    # Its token can be judged only where it was issued: what a stranger brings is refused, and the caller gets the overflow.
    newcomer_got = "the overflow" if newcomer.heard.says("something went wrong") else "the agent"
    answered = sum(t is not None for t in took)
    return {"answered": answered, "newcomer": newcomer_got, "ends": ends(await callers.rows())}


async def deployed(house, count, numbers):
    """SIGHUP: fresh workers take over, and those with calls stay until the last has ended."""
    before = house.workers()
    callers = await Callers.ring(house, count, numbers)
    house.server.signal(signal.SIGHUP)
    await house.until(lambda: "all workers are replaced" in house.server.log, "fresh workers", 120)
    late = await Callers.ring(house, 2, numbers)
    took = [*await callers.answered(), *await late.answered()]
    await callers.say_goodbye()
    await house.until(lambda: not house.workers() & before, "end of the old workers", 120)
    await late.say_goodbye()
    rows = [*await callers.rows(), *await late.rows()]
    return {"answered": sum(t is not None for t in took), "ends": ends(rows)}


async def worker_killed(house, count, numbers):
    """SIGKILL for one of two workers."""
    callers = await Callers.ring(house, count, numbers)
    rows = {call.sid: await house.stored(call.sid, lambda row: row.answered_at is not None) for call in callers.calls}
    by_worker = Counter(row.node.split("-")[-2] for row in rows.values())
    victim = int(by_worker.most_common(1)[0][0])
    hit = Callers(house, [call for call in callers.calls if f"-{victim}-" in rows[call.sid].node])
    spared = Callers(house, [call for call in callers.calls if call not in hit.calls])
    os.kill(victim, signal.SIGKILL)
    killed_at = time.monotonic()
    await asyncio.gather(*(call.until_said("something went wrong") for call in hit.calls))
    apologies = [call.heard.said[-1].start - _stream_end(call) for call in hit.calls]
    took = await spared.answered()
    await spared.say_goodbye()
    for call in hit.calls:
        call.hang_up()  # wherever the overflow has taken them
    await asyncio.gather(*(call.until_status("completed") for call in hit.calls))
    await house.until(lambda: len(house.workers()) == 2, "a new worker")
    later = datetime.now(UTC) + FINISH_AFTER + timedelta(minutes=1)
    async with house.store() as store, TwilioRest(plain_settings(house)) as rest:
        await reconcile(store, rest, later)
        await reconcile(store, rest, later)  # once more changes nothing
    return {
        "hit": len(hit.calls),
        "killed_at": killed_at,
        "apology_s": max(apologies),
        "spared": (sum(t is not None for t in took), len(spared.calls)),
        "ends": ends([*await hit.rows(), *await spared.rows()]),
    }


async def drained(house, count, numbers):
    """SIGTERM: no new calls. Once more, since nobody wants to wait: callers are told goodbye, and the server ends."""
    callers = await Callers.ring(house, count, numbers)
    house.server.signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        while True:
            if (await http(house.url + "/readyz"))[0] != 200:
                break
            await asyncio.sleep(0.05)
    refused = await house.ring(Pause(600_000), from_=next(numbers))
    await refused.until_said("All our lines are busy", timeout_s=120)
    await refused.until(lambda: refused.is_over or {"Dial", "Enqueue"} & set(refused.verbs), "something that follows")
    if "Dial" in refused.verbs:
        await refused.until(lambda: refused.children, "second leg", timeout_s=120)
        await refused.children[0].until_status("in-progress", timeout_s=120)
    overflow = [
        *(leg.to for leg in refused.children),
        *(done.text for done in refused.executed if done.verb == "Enqueue"),
    ]
    refused.hang_up()
    took = await callers.answered()
    told = time.monotonic()
    house.server.signal(signal.SIGTERM)
    await asyncio.gather(*(call.until_status("completed", timeout_s=120) for call in callers.calls))
    goodbyes = sum(_sound_since(call, told) > 1 for call in callers.calls)
    status = await asyncio.wait_for(house.server.process.wait(), 60)
    answered = sum(t is not None for t in took)
    known = {"exit": status, "answered": answered, "goodbyes": goodbyes, "overflow": overflow}
    return known | {"ends": ends(await callers.rows())}


def replayed(house, killed_at):
    """All calls of the night, run again from their tapes; of those that were killed, how much is not on them."""
    done = [verify_tape(path) for path in find_tapes([str(house.data_dir)], house.data_dir)]
    killed = [tape for tape in done if tape.torn is not None]
    return {
        "calls": len(done),
        "changed": [str(difference) for tape in done for difference in tape.differences[:1]],
        "killed": len(killed),
        "missing_s": max(killed_at - (tape.call.clock_s + tape.seconds) for tape in killed),
    }


def ends(rows):
    return Counter(row.disposition for row in rows)


async def transcript(house, row):
    return (await house.record_of(row.call_sid))["transcript"]


def _sound_since(call, time):
    return sum(max(0.0, span.end - max(span.start, time)) for span in call.heard.audible)


def _stream_end(call):
    return call.streams[-1].ended_at


@contextmanager
def sqlite_locked(path):
    """Somebody else writes, and does not come to an end."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@contextmanager
def postgres_stopped(server):
    server.stop()
    try:
        yield
    finally:
        server.start()
