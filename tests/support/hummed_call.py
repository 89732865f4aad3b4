"""A short call in text-level speech, with all that a call may have: tools, an approval, an interruption, a hand-off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from realtime_bridge import Agent, ToolContext, tool
from telephony.testing import AfterTurn, HangUp, IntoUtterance, Patience, Say, Step
from telephony.testing.hum import HumRecognizer, HumVad, HumVoice, hum
from telephony.trials.models import Speech
from telephony.trials.recorded_caller import RecordedCaller
from telephony.trials.taped_call import CallSetting
from telephony.trials.trial import TrialRun, try_agent

SPEECH = Speech(recognizer=HumRecognizer(), voice=HumVoice(), vad_factory=HumVad)
INTERRUPTS_AFTER_MS = 1400

SCRIPT = """
greeting: Desk here.
fallback: Pardon?
rules:
  - heard: ["order {number:id}"]
    call: find_order
    with: {number: "{number}"}
  - after: find_order
    if: {state: sent}
    say: It left on Monday, and it will be with you on Friday.
  - after: find_order
    say: I cannot find it.
  - heard: [cancel it]
    call: cancel_order
    with: {number: "47"}
  - after: cancel_order
    if: {cancelled: yes}
    say: Cancelled.
  - after: cancel_order
    say: That was refused.
  - heard: [a person please]
    call: transfer_to_care
  - heard: [goodbye]
    say: Bye.
agents:
  - name: Care
    when: {instructions: you are care}
    greeting: Care here.
    rules:
      - heard: [goodbye]
        say: Bye, from care.
"""


class Shop:
    """What the tools really do: they count."""

    def __init__(self, state: str = "sent") -> None:
        self.state = state
        self.asked: list[str] = []


def desk(shop: Shop, *, look_up: str = "find_order") -> Agent:
    """The agent. `look_up`: what its first tool is called."""

    @tool(name=look_up)
    def find_order(context: ToolContext[Any], number: str) -> dict[str, str]:
        """Find an order."""
        shop.asked.append(number)
        return {"state": shop.state}

    @tool(needs_approval=True)
    async def cancel_order(context: ToolContext[Any], number: str) -> dict[str, str]:
        """Cancel an order."""
        shop.asked.append(f"cancel {number}")
        return {"cancelled": "yes"}

    care = Agent(name="Care", instructions="You are care.")
    return Agent(name="Desk", instructions="You are the desk.", tools=[find_order, cancel_order], handoffs=[care])


agent = desk(Shop())  # for whoever wants one by its name


def steps() -> list[Step]:
    turn = AfterTurn(400, patience=Patience(short_ms=2500))

    def says(text: str) -> Say:
        return Say(hum(text), text)

    return [
        *(turn, says("Order 47.")),
        *(IntoUtterance(INTERRUPTS_AFTER_MS), says("Cancel it.")),
        *(turn, says("A person, please.")),
        *(turn, says("Goodbye.")),
        *(turn, HangUp()),
    ]


def recorded_call(data_dir: Path, script: Path, *, approves: bool = True) -> TrialRun:
    """One such call, really made, with its tape. In pcmu, since that is quicker."""
    trial = try_agent(
        replace(RecordedCaller.of_script(steps()), setting=CallSetting(audio="pcmu")),
        desk(Shop()),
        script=script,
        speech=SPEECH,
        tools="live",
        approvals="approve" if approves else "reject",
        keep=data_dir,
    )
    return trial.runs[0]
