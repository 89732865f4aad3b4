"""The demo's agents: the front desk of a telephone company, and its customer care.

Also what answers calls when a server is started without an agent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from realtime_bridge import Agent, ToolContext, tool
from realtime_bridge.tools import ToolError

SCRIPT = Path(__file__).with_name("dialogue.yaml")  # what the offline model says in these agents' place

CUSTOMERS = {
    "4729": {"name": "Allison Smith", "address": "12 Wren Street", "line": "one business line, eight extensions"},
    "1138": {"name": "Robin Field", "address": "3 Mill Lane", "line": "one private line"},
}


@tool
def find_customer(context: ToolContext[Any], number: str) -> dict[str, str]:  # noqa: ARG001 - tools take the context
    """Look a customer up.

    Args:
        number: The customer number, four digits.
    """
    digits = "".join(character for character in number if character.isdigit())
    if digits not in CUSTOMERS:
        raise ToolError(f"There is no customer with the number {digits or number!r}. Ask for it again.")
    return CUSTOMERS[digits]


@tool(needs_approval=True, filler="One moment, I am asking for that.")
def book_visit(context: ToolContext[Any], day: str, time: str) -> dict[str, str]:  # noqa: ARG001 - as above
    """Book a visit of an engineer. A colleague confirms each one.

    Args:
        day: The day, as the caller said it.
        time: The time of day, as the caller said it.
    """
    return {"day": day.lower(), "time": time, "engineer": "Kim"}


customer_care = Agent(
    name="Customer care",
    instructions=(
        "You are Robin of customer care at Wren Street Telephones, on the phone. Answer in one or two short sentences. "
        "Say goodbye when the caller does."
    ),
    handoff_description="Callers who want to speak with a person or a representative.",
)

front_desk = Agent(
    name="Front desk",
    instructions=(
        "You are the front desk of Wren Street Telephones, on the phone. Answer in one or two short sentences. "
        'Greet with "Wren Street Telephones, front desk. How can I help?". Ask for the customer number and look the '
        "customer up before you give advice. Book a visit of an engineer when the caller wants one."
    ),
    tools=[find_customer, book_visit],
    handoffs=[customer_care],
    voice="marin",
)
