"""A report that build servers read: JUnit's XML, in the form that Jenkins, GitLab and GitHub's actions take.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

# What XML 1.0 can hold (section 2.2, Char); a tape may hold anything.
_NO_CHARACTERS: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class JUnitCase:
    """One call. `failure`: what is not as expected; `error`: why that could not be found out. Text, or None."""

    name: str
    group: str
    seconds: float
    failure: str | None = None
    error: str | None = None


def junit_xml(suite: str, cases: Sequence[JUnitCase]) -> bytes:
    """The whole file."""
    root = ET.Element("testsuites")
    element = ET.SubElement(
        root,
        "testsuite",
        name=_printable(suite),
        tests=str(len(cases)),
        failures=str(sum(case.failure is not None for case in cases)),
        errors=str(sum(case.error is not None for case in cases)),
        skipped="0",
        time=f"{sum(case.seconds for case in cases):.3f}",
    )
    for case in cases:
        name, group = _printable(case.name), _printable(case.group)
        one = ET.SubElement(element, "testcase", classname=group, name=name, time=f"{case.seconds:.3f}")
        for kind, text in (("failure", case.failure), ("error", case.error)):
            if text is not None:
                told = _printable(text)
                ET.SubElement(one, kind, message=told.partition("\n")[0]).text = told
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _printable(text: str) -> str:
    return _NO_CHARACTERS.sub("\N{REPLACEMENT CHARACTER}", text)
