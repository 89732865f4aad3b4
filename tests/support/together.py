"""Async tests that mostly wait, run side by side.

    together = Together()

    @together
    async def test_a_call_rings(): ...

    @together.each(("busy", 1), ("failed", 2))
    async def test_each_end(status, number): ...

All of a file run when the first is asked for, some at a time; each then fails or passes for itself.
"""

import asyncio
import functools

import pytest

AT_ONCE = 8
TEST_S_MAX = 120.0


class Together:
    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._cases = []
        self._outcomes = None

    def __call__(self, test):
        """A test without arguments."""
        self._cases.append((test, ()))

        @functools.wraps(test)
        def run():
            self._outcome_of(test, ())

        return run

    def each(self, *cases):
        """A test that is run for each of these tuples of arguments."""

        def decorate(test):
            self._cases += [(test, case) for case in cases]

            @pytest.mark.parametrize("case", cases, ids=[" ".join(map(str, case))[:60] for case in cases])
            def run(case):
                self._outcome_of(test, case)

            run.__name__, run.__doc__ = test.__name__, test.__doc__
            return run

        return decorate

    def _outcome_of(self, test, case):
        if self._outcomes is None:
            self._outcomes = asyncio.run(self._run_all())
        number = next(n for n, one in enumerate(self._cases) if one[0] is test and one[1] is case)
        if isinstance(self._outcomes[number], BaseException):
            raise self._outcomes[number]

    async def _run_all(self):
        places = asyncio.Semaphore(self._at_once)

        async def run(test, case):
            async with places, asyncio.timeout(TEST_S_MAX):
                await test(*case)

        return await asyncio.gather(*(run(*one) for one in self._cases), return_exceptions=True)
