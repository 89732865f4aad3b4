"""Programs that use one database at once."""

import os
import subprocess
import sys

import pytest
from support.source import ROOT

ANSWER_S_MAX = 60


class Programs:
    """Copies of one program, which print a line when they have come to a point, and wait there for a line."""

    def __init__(self, program, url, count):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests")))}
        self._running = [
            subprocess.Popen(
                [sys.executable, "-c", program, url, str(number)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT,
            )
            for number in range(count)
        ]  # fmt: skip

    def come_to(self, line):
        assert [process.stdout.readline().strip() for process in self._running] == [line] * len(self._running)

    def go(self):
        """All at the same moment."""
        for process in self._running:
            process.stdin.write("go\n")
            process.stdin.flush()

    def ends(self):
        """The last line of each."""
        outputs = [process.communicate(timeout=ANSWER_S_MAX)[0] for process in self._running]
        assert [process.returncode for process in self._running] == [0] * len(self._running)
        return [output.splitlines()[-1] for output in outputs]

    def kill(self):
        for process in self._running:
            process.kill()
            process.communicate()


@pytest.fixture
def start_programs():
    started = []

    def start(*arguments):
        started.append(Programs(*arguments))
        return started[-1]

    yield start
    for programs in started:
        programs.kill()
