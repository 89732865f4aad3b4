"""Who may know whom. The floors below are the map of the house: change it when the plan changes, not to silence a test."""

from graphlib import TopologicalSorter

import pytest
from support.source import Import, Module, modules

# From the ground up. A room is a module or a package, with all that is in it; where one is inside another, the inner one
# counts. A room may use the rooms of lower floors; rooms on one floor do not know each other.
FLOORS = {
    "realtime_bridge": [
        {"errors", "alarm", "copying", "embedded", "plain_yaml"},
        {"audio", "wire", "schema", "approvals", "tape"},
        # The session core knows what a transport must do, and no transport that does it. The offline model knows nothing
        # of sessions: it is the other end of the wire.
        {"transport.base", "localmodel"},
        {"session", "transport"},
        {"context", "session_audio"},
        {"guardrails"},
        {"tools"},
        {"agent", "invocation"},
        {"handoffs", "roster"},
        {"hook_calls"},
        {"session_work"},
        {"realtime"},
        {""},  # the package itself: what users import
    ],
    "telephony": [
        {"word_redaction"},
        {
            "announce",
            "call_details",
            "scopes",
            "settings",
            "listener",
            "signals",
            "worker_link",
            "redaction",
            "routes",
            "latency",
            "limits",
            "numbers",
            "tokens",
            "playout",
            "twilio",
            "demo.agent",
            "offline",
        },
        {"metrics"},
        {"store", "twilio.rest"},  # what outlives a call; knows no calls
        {"logs", "loop_watch", "tracing", "bridge_inputs", "bridge_commands"},
        {"holdback", "caller_audio", "phone_audio", "stream", "tones", "truncates"},
        {"agent_audio", "handoff", "own_audio"},
        {"bridge", "server"},
        {"transport", "life", "records"},
        {"steering", "expectations"},
        {"agents", "testing"},
        {"calls", "worker", "workers"},
        {"doctor", "outbound", "privacy", "shared_tokens", "tools"},
        {"api", "housekeeping", "webhooks"},
        {"opening"},
        {"front_office"},
        {"app"},
        {"demo", "replay"},
        {"trials"},
        {"call_files"},
        {""},
        {"cli", "pytest_plugin"},
    ],
}


def room_of(module: str) -> tuple[str, int, str] | None:
    """(package, floor, room) of a module by its full name."""
    package, _, inner = module.partition(".")
    found = [
        (package, number, room)
        for number, floor in enumerate(FLOORS[package])
        for room in floor
        if inner == room or (room and inner.startswith(room + "."))
    ]
    return max(found, key=lambda place: len(place[2]), default=None)


def test_every_module_is_in_a_room_and_every_room_is_there():
    homeless = [name for name in modules() if room_of(name) is None]
    assert homeless == [], "name their room in FLOORS"
    rooms = {(package, room) for package, floors in FLOORS.items() for floor in floors for room in floor}
    lived_in = {(place[0], place[2]) for name in modules() if (place := room_of(name))}
    assert rooms == lived_in


def breaks(module: Module, imported: Import) -> bool:
    package, floor, room = room_of(module.name)
    their_package, their_floor, their_room = room_of(imported.name)
    if package != their_package:
        return package == "realtime_bridge"  # which knows nothing of phones
    return room != their_room and their_floor >= floor


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_use_only_the_floors_below_them(package):
    broken = [
        f"{module.where}:{imported.line} uses {imported.name}"
        for module in modules().values()
        if module.name.split(".")[0] == package
        for imported in module.own_imports()
        if breaks(module, imported)
    ]
    assert not broken, "\n".join(broken)


def test_no_module_needs_itself_to_be_imported():
    """Imports run at a module's start form no circle, so that any module can be imported first."""
    graph = {
        name: {imported.name for imported in module.own_imports() if imported.at_start} - {name}
        for name, module in modules().items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
