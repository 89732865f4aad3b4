"""What every file of the project keeps to, whoever wrote it."""

import ast
import re

import pytest
from support.source import PACKAGES, ROOT, files, modules

# Aim at 400, and 40 a function; a story that wants to stay whole may be somewhat longer.
LINES_MAX = {"realtime_bridge": 500, "telephony": 500, "tests": 700, ".ci": 100}
# path -> why it is longer still. Few, and better split.
LONGER: dict[str, str] = {}
VAGUE_NAMES = {"base_utils", "common", "helper", "helpers", "misc", "tools_utils", "util", "utils"}
BINARY = {".npz", ".tape", ".wav"}


def texts():
    """(path as written, text) of each text file."""
    return [(str(p.relative_to(ROOT)), p.read_text(encoding="utf-8")) for p in files() if p.suffix not in BINARY]


def test_public_modules_say_why_they_exist():
    silent = [m.where for m in modules().values() if not ast.get_docstring(m.tree)]
    assert silent == []


def test_no_module_has_a_name_that_says_nothing():
    assert [str(p) for p in files() if p.stem in VAGUE_NAMES] == []


def test_files_are_short_enough_to_read():
    long = {
        path: text.count("\n")
        for path, text in texts()
        if path.endswith(".py") and text.count("\n") > LINES_MAX[path.partition("/")[0]]
    }
    assert {path: lines for path, lines in long.items() if path not in LONGER} == {}, (
        "split them, or say in LONGER why not"
    )
    assert set(LONGER) <= set(long), "these have become short enough"


def exceptions():
    """(where, the rest of the line from the exception on) of every lint and type exception in Python code."""
    marks = re.compile(r"#\s*(?:ruff: noqa|noqa|type: ignore|fmt: off|pragma: no cover).*")
    return [
        (f"{path}:{number}", found.group())
        for path, text in texts()
        if path.endswith(".py") and path != "tests/house/test_source.py"
        for number, line in enumerate(text.splitlines(), 1)
        if (found := marks.search(line))
    ]


@pytest.mark.parametrize("kind", ["noqa", "type: ignore"])
def test_exceptions_to_lint_name_their_rule_and_their_reason(kind):
    shape = {
        "noqa": r"#\s*(ruff: )?noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*\s+--? \S.*",
        "type: ignore": r"#\s*type: ignore\[[a-z\-, ]+\]\s+#\s*\S.*",
    }[kind]
    bare = [f"{where}: {mark}" for where, mark in exceptions() if kind in mark and not re.fullmatch(shape, mark)]
    assert not bare, "\n".join(bare)


def test_nobodys_machine_is_named():
    paths = re.compile(r"(?<![\w.}])/(?:home|root|Users|work|mnt|opt|srv)/\w+|[A-Z]:\\\\?Users")
    found = [
        f"{path}:{number}: {line.strip()}"
        for path, text in texts()
        if path != "tests/house/test_source.py"
        for number, line in enumerate(text.splitlines(), 1)
        if paths.search(line)
    ]
    assert not found, "\n".join(found)


def test_each_package_says_that_it_is_typed():
    assert all((ROOT / package / "py.typed").is_file() for package in PACKAGES)


def test_recordings_and_weights_lie_beside_their_origin_and_terms():
    folders = {path.parent for path in files() if path.suffix in BINARY}
    told = {path.parent for path in files() if path.name == "ATTRIBUTION.md" or path.name.startswith("LICENSE-")}
    bare = [str(folder.relative_to(ROOT)) for folder in folders if not told & {folder, *folder.parents}]
    assert bare == []
