"""Does a project of a user's work? Run with the Python of an environment that holds `pip install .` and pytest.

A folder with an agent of its own and one `*.call.yaml`, and nothing of this checkout: `pytest` is green. With a broken
prompt it is red, and says what was expected and what was said instead. What is said without the `[local]` extra is said.
"""

import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

AGENT = '''
from realtime_bridge import Agent, ToolContext, tool

@tool
def find_order(context: ToolContext, order_id: str) -> dict[str, str]:
    """Find out where an order is.

    Args:
        order_id: The order's number, a letter and four digits.
    """
    return {"status": "shipped", "arrives": "Tuesday"}

agent = Agent(name="Front desk", tools=[find_order], instructions=(
    'You answer the phone of a bicycle shop. Greet with "Wheel Street Bikes, how can I help you?". Be brief.'))
'''
CALL = """
agent: front_desk:agent
caller:
  - Where is my order A1042?
  - interrupt: Thank you, goodbye.
    at: Tuesday
expect:
  - said: Wheel Street Bikes
  - tool: find_order
    with: {order_id: A1042}
  - said: shipped
  - not_said: refund
  - interruptions: {max: 1}
  - no_dead_air_over: 5 s
"""
SECONDS_MAX = 300  # a run; most of it is imports, on a cold and busy machine


def pytest(folder: Path) -> tuple[int, str]:
    """Its exit status, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=folder, capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def check(folder: Path) -> None:
    """Green, red, and green again."""
    agent, call = folder / "front_desk.py", folder / "order.call.yaml"
    agent.write_text(AGENT, encoding="utf-8")
    call.write_text(CALL, encoding="utf-8")
    began = time.monotonic()
    status, printed = pytest(folder)
    assert status == 0, printed
    speech = "real speech" if find_spec("hibari") else "text-level speech"
    assert f"phone calls: in virtual time, with {speech}" in printed, printed
    print(f"green in {time.monotonic() - began:.1f} s, with {speech}")

    agent.write_text(AGENT.replace("Wheel Street Bikes", "Good morning"), encoding="utf-8")
    status, printed = pytest(folder)
    assert status == 1, printed
    for told in (
        "order.call.yaml:8:5: expected: the agent says 'Wheel Street Bikes'",
        "agent    Good morning",
        "tape: ",
    ):
        assert told in printed, f"{told!r} is not in: {printed}"
    print("red with a broken prompt:", printed[printed.index("order.call.yaml:8:5") :], sep="\n")

    call.write_text(CALL.replace("caller:", "calelr:"), encoding="utf-8")
    status, printed = pytest(folder)
    assert status == 1, printed
    assert "order.call.yaml:3:1: a call has no 'calelr'; did you mean 'caller'?" in printed, printed
    print("red with a misspelt key")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        check(Path(name))
