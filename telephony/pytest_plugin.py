"""The pytest plugin: collects `*.call.yaml`, and gives tests a caller (`phone_call`) and recorded ones (`replay_tape`).

Every pytest run of whoever has this package installed loads this module, also where nothing has to do with phones: so it
imports nothing but pytest, and a call file is read when its test is run, not when it is found. Everything else is behind
`telephony.call_files.call_check`, which the first call imports.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from realtime_bridge import Agent
    from telephony import PhoneAgent
    from telephony.call_files.call_check import CheckedCall
    from telephony.expectations import Expectation
    from telephony.replay.verify import Verification
    from telephony.testing import CallerStep

ENDINGS = (".call.yaml", ".call.yml")
_FIXTURES = {"phone_call", "replay_tape"}


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if not file_path.name.endswith(ENDINGS):
        return None
    file: CallYaml = CallYaml.from_parent(parent, path=file_path)
    return file


def pytest_report_collectionfinish(items: Sequence[pytest.Item]) -> str | None:
    """How the callers will speak, where there are any."""
    if not any(isinstance(item, CallItem) or _FIXTURES & set(getattr(item, "fixturenames", ())) for item in items):
        return None
    from telephony.call_files.installed_speech import has_real_speech  # noqa: PLC0415 - see above

    if has_real_speech():
        return "phone calls: in virtual time, with real speech"
    return (
        "phone calls: in virtual time, with text-level speech (nothing is mispronounced or misheard); "
        "pip install 'realtime-bridge[local]' for real speech"
    )


class CallYaml(pytest.File):
    """A file with one call."""

    def collect(self) -> Iterator[pytest.Item]:
        name = self.path.name
        for ending in ENDINGS:
            name = name.removesuffix(ending)
        item: CallItem = CallItem.from_parent(self, name=name or "call")
        yield item


class CallItem(pytest.Item):
    """The call of such a file."""

    def runtest(self) -> None:
        from telephony.call_files.call_check import check_call_file  # noqa: PLC0415 - see above
        from telephony.call_files.call_file import load_call_file  # noqa: PLC0415 - as above

        call = load_call_file(self.path, name=self._shown_path)
        checked = check_call_file(call, roots=[self.config.rootpath], keep=_new_folder(self.config, self.name))
        _passed(self, checked)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What was expected and found; a traceback only for what is nobody's mistake in the file."""
        from realtime_bridge.errors import MisuseError  # noqa: PLC0415 - see above
        from telephony.call_files.call_check import CallFailedError  # noqa: PLC0415 - as above

        if isinstance(excinfo.value, CallFailedError | MisuseError):
            return str(excinfo.value)
        theirs = [entry for entry in excinfo.traceback if not _is_ours(str(entry.path))]
        excinfo.traceback = type(excinfo.traceback)(theirs or excinfo.traceback)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"call {self.name}"

    @property
    def _shown_path(self) -> str:
        root = self.config.rootpath
        return str(self.path.relative_to(root) if self.path.is_relative_to(root) else self.path)


class PhoneCalls:
    """The fixture `phone_call`."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def __call__(
        self,
        agent: Agent | PhoneAgent,
        caller: str | Sequence[CallerStep],
        *,
        expect: Sequence[Expectation] = (),
        **options: Any,
    ) -> CheckedCall:
        """Let a scripted caller call the agent, and fail unless all that is expected holds.

        `caller`: one text, or steps (see `telephony.testing.caller_script`). `options`: see `CallOptions`.
        """
        __tracebackhide__ = True
        from telephony.call_files.call_check import CallOptions, check_call  # noqa: PLC0415 - see above

        options.setdefault("keep", _new_folder(self._request.config, self._request.node.name))
        steps = (caller,) if isinstance(caller, str) else tuple(caller)
        return _passed(self._request.node, check_call(agent, steps, expect, CallOptions(**options)))


class TapeReplays:
    """The fixture `replay_tape`."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def __call__(
        self,
        tape: str | Path,
        *,
        agent: Agent | PhoneAgent | None = None,
        expect: Sequence[Expectation] | None = None,
        **options: Any,
    ) -> CheckedCall | Verification:
        """Let a recorded caller call the agent; without one, verify that this program still does what it did in that call.

        `tape`: from the test's own folder. `expect` None: the same tools with the same arguments, and the same hand-offs.
        `options`: see `CallOptions`; tools and approvals are the recorded ones, unless told otherwise.
        """
        __tracebackhide__ = True
        from telephony.call_files.call_check import CallFailedError, CallOptions, check_call  # noqa: PLC0415 - see above
        from telephony.replay.verify import verify_tape  # noqa: PLC0415 - as above
        from telephony.settings import load_settings, recording_keys  # noqa: PLC0415 - as above

        path = self._request.path.parent / tape
        if agent is None:
            verification = verify_tape(path, recording_keys(load_settings()))
            if not verification.identical:
                raise CallFailedError("\n\n".join(map(str, verification.differences)))
            return verification
        options.setdefault("keep", _new_folder(self._request.config, self._request.node.name))
        options = {"tools": "recorded", "approvals": "recorded", **options}
        return _passed(self._request.node, check_call(agent, path, expect, CallOptions(**options)))


@pytest.fixture
def phone_call(request: pytest.FixtureRequest) -> PhoneCalls:
    """A caller who calls an agent: phone_call(agent, ["Where is my order?"], expect=[Said("shipped")])."""
    return PhoneCalls(request)


@pytest.fixture
def replay_tape(request: pytest.FixtureRequest) -> TapeReplays:
    """A recorded caller who calls an agent: replay_tape("call.tape", agent=agent, expect=[Said("shipped")])."""
    return TapeReplays(request)


def _is_ours(path: str) -> bool:
    return path.startswith((str(Path(__file__).parent), "<frozen importlib")) or "importlib" in Path(path).parts


def _passed(item: pytest.Item, checked: CheckedCall) -> CheckedCall:
    """What became of the call, which goes into JUnit's XML, too. Raises CallFailedError if it has not passed."""
    __tracebackhide__ = True
    from telephony.call_files.call_check import CallFailedError  # noqa: PLC0415 - see above

    item.user_properties.append(("speech", checked.speech))
    if len(checked.runs) > 1:
        item.user_properties.append(("pass_rate", f"{checked.pass_rate:.2f}"))
    if not checked.passed:
        raise CallFailedError(checked.told())
    return checked


def _new_folder(config: pytest.Config, name: str) -> Path | None:
    """For tapes and recordings, which pytest keeps for a few runs; None where there are no temporary folders."""
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is None:
        return None
    short = "".join(c if c.isalnum() else "_" for c in name)[:30]
    folder: Path = factory.mktemp(f"{short}-call")
    return folder
