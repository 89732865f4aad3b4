"""Programs that use one database at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.source import ROOT

ANSWER_S_MAX = 30


@pytest.fixture
def run_beside():
    """Run a program several times over, with the database's URL and a number; each prints "ready" and waits for a line.

    Returns the last line of each, after all were told to go at the same moment.
    """
    running = []

    def run(program, url, count):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests")))}
        running.extend(
            subprocess.Popen(
                [sys.executable, "-c", program, url, str(number)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=Path(ROOT),
            )
            for number in range(count)
        )  # fmt: skip
        for process in running:
            assert process.stdout.readline() == "ready\n"
        for process in running:
            process.stdin.write("go\n")
            process.stdin.flush()
        outputs = [process.communicate(timeout=ANSWER_S_MAX)[0] for process in running]
        assert [process.returncode for process in running] == [0] * count
        return [output.splitlines()[-1] for output in outputs]

    yield run
    for process in running:
        process.kill()
        process.communicate()
