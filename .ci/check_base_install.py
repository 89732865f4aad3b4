"""Does the plain install stand by itself? Run with the Python of an environment that holds `pip install .`, no extra.

Every module imports, but for the plugin of pytest, which is not installed; the commands start; the server serves until a
signal; what needs the extra says so.
"""

import importlib
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import urllib.request
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("realtime-bridge"))
PACKAGES = ("realtime_bridge", "telephony")
BY_PYTEST = "telephony.pytest_plugin"  # imported by it alone
START_S_MAX = 60


def check_imports() -> None:
    """Every installed module of ours, one after another."""
    site = Path(sysconfig.get_path("purelib"))
    paths = sorted(path for package in PACKAGES for path in (site / package).rglob("*.py"))
    names = [".".join(path.relative_to(site).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    for name in names:
        if name != BY_PYTEST:
            importlib.import_module(name)
    assert BY_PYTEST in names
    print(f"{len(names)} modules")


def check_command(arguments: list[str], folder: str, *, status: int, says: str) -> None:
    """A command's exit status, and a part of what it prints."""
    done = subprocess.run(
        [PROGRAM, *arguments], cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    printed = done.stdout + done.stderr
    assert done.returncode == status, f"{arguments} exits with {done.returncode}, not {status}: {printed}"
    assert says in printed, f"{arguments} does not say {says!r}: {printed}"
    assert "Traceback" not in printed, printed


def check_serve(folder: str) -> None:
    """The phone server starts on a free port, answers and ends in order."""
    with subprocess.Popen(
        [PROGRAM, "serve", "--port", "0"],
        cwd=folder, env=environment(OPENAI_API_KEY="none"), stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stderr is not None
        try:
            url = next(found[1] for line in server.stderr if (found := re.search(r"Listening on (http://\S+)", line)))
            with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
                assert answer.status == 200
            server.send_signal(signal.SIGTERM)
            assert server.wait(START_S_MAX) == 0, f"the server exits with {server.returncode}"
        finally:
            server.kill()


def environment(**settings: str) -> dict[str, str]:
    """Nothing of the machine's own settings."""
    return {"PATH": os.environ["PATH"], **settings}


if __name__ == "__main__":
    check_imports()
    with tempfile.TemporaryDirectory() as folder:
        check_command(["--help"], folder, status=0, says="serve")
        check_command(["settings"], folder, status=0, says="OPENAI_API_KEY")
        check_command(["demo"], folder, status=2, says="realtime-bridge[local]")
        check_command(["local-model"], folder, status=2, says="realtime-bridge[local]")
        check_serve(folder)
    print("--help, settings, demo, local-model and serve behave")
