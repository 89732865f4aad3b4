"""What a check has found. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

# skipped: another finding must be mended first, or there is nothing to look at
Verdict: TypeAlias = Literal["ok", "warning", "failed", "skipped"]


class Finding(msgspec.Struct, frozen=True):
    """`check` names the check for machines. `where`: the setting or place. `what` is wrong, or is well; `mend`: how."""

    check: str
    verdict: Verdict
    where: str
    what: str
    mend: str = ""


def ok(check: str, where: str, what: str) -> Finding:
    return Finding(check, "ok", where, what)


def warning(check: str, where: str, what: str, mend: str) -> Finding:
    return Finding(check, "warning", where, what, mend)


def failed(check: str, where: str, what: str, mend: str) -> Finding:
    return Finding(check, "failed", where, what, mend)


def skipped(check: str, where: str, what: str) -> Finding:
    return Finding(check, "skipped", where, what)
