"""Calls drawn from a seed: replies of every shape, and callers who talk into them."""

from random import Random

from simulation.model import CallerSpeaks, Reply, Scenario

ITEMS_MAX = 18
SECONDS_MAX = 40.0
SETTLE_S = 15.0  # after the last event: everything that will be heard has been heard

FAST = (1.5, 4.0, 10.0)
SLOW = (0.7, 0.9, 1.0)  # the phone runs dry between deltas


def random_scenario(
    seed: int,
    *,
    audio: str = "pcmu",
    speeds: tuple[float, ...] = FAST + SLOW,
    items: tuple[int, ...] = (1, 1, 1, 2, 3),
) -> Scenario:
    """Replies of so many `items`, at one of these speeds, most of them interrupted at a random moment.

    Where slow speeds are allowed, generation may halt as well.
    """
    rng = Random(seed)
    hiccups_ms = (0, 0, 0, 300, 1500) if min(speeds) <= 1 else (0,)
    events: list[tuple[float, Reply | CallerSpeaks]] = []
    at, count = 0.5, 0
    while count < ITEMS_MAX and at < SECONDS_MAX:
        reply = Reply(
            items_ms=tuple(rng.randrange(300, 4000, 20) for _ in range(rng.choice(items))),
            delta_ms=rng.choice((20, 60, 100, 200, 400)),
            speed=rng.choice(speeds),
            latency_ms=rng.uniform(100, 800),
            hiccup_ms=rng.choice(hiccups_ms),
        )
        count += len(reply.items_ms)
        events.append((at, reply))
        halts_ms = reply.latency_ms + reply.hiccup_ms * len(reply.items_ms)
        lasts_s = (halts_ms + sum(reply.items_ms) / min(reply.speed, 1.0)) / 1000
        if rng.random() < 0.7:
            at += rng.uniform(0.2, lasts_s)
            events.append((at, CallerSpeaks(rng.uniform(200, 1500))))
            at += 1.6
        else:
            at += lasts_s + 0.5
    return Scenario(tuple(events), seconds=at + SETTLE_S, audio=audio, late_deltas=rng.randrange(4))
