"""The regression set: calls as they were, run again. See README.md in this directory."""

import sys
from pathlib import Path

import pytest
from support.mutant import mutant
from support.replayed_call import replayed

from telephony.replay.verify import verify_tape

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the rest of the set lies beside this file
from calls import CALLS  # noqa: E402 - found by the line above
from guards import GUARDS  # noqa: E402 - as above

TAPE_BYTES_MAX = 150_000


def tape(name):
    return HERE / f"{name}.tape"


def test_each_tape_is_described_and_guards_something():
    assert {path.stem for path in HERE.glob("*.tape")} == set(CALLS) == set(GUARDS)
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    assert [name for name in CALLS if name not in readme] == []


@pytest.mark.parametrize("name", GUARDS)
def test_the_call_is_as_it_was(name):
    verification = verify_tape(tape(name))
    assert verification.identical, "\n".join(map(str, verification.differences[:5]))
    assert verification.torn is None
    assert tape(name).stat().st_size < TAPE_BYTES_MAX


@pytest.mark.parametrize("name", GUARDS)
def test_the_failure_is_not_in_it(name):
    guarded, _ = GUARDS[name]
    guarded(replayed(tape(name)))


@pytest.mark.parametrize("name", GUARDS)
def test_one_changed_line_brings_it_back_and_the_replay_names_what_changed(name):
    _, fault = GUARDS[name]
    with mutant(fault.module, fault.line, fault.changed) as verify:
        verification = verify.verify_tape(tape(name))
    assert fault.what in verification.counts, verification.counts
    assert any(f" {fault.what}: " in str(difference) for difference in verification.differences)
