"""What the documents and the command line promise is there: commands, options, settings, links, the version."""

import contextlib
import io
import re
import shlex
import tomllib
from functools import cache

import pytest
from support.source import PACKAGES, ROOT, files

from telephony.cli import COMMANDS, main
from telephony.settings import Settings, settings_table

DOCUMENTS = [path for path in files() if path.suffix == ".md"]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@cache
def program(*arguments: str) -> str:
    """What `realtime-bridge` prints to a pipe, in one line."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        main(list(arguments))
    return " ".join(printed.getvalue().split())


def shell_lines(document):
    """The commands in a document's code blocks and in its running text."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```(?:sh|console)\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", text)


def uses(document):
    """Each use of the program: its arguments."""
    found = []
    for line in shell_lines(document):
        for part in line.split("&&"):
            words = shlex.split(part, comments=True) if "'" not in part or part.count("'") % 2 == 0 else part.split()
            starts = [at for at, word in enumerate(words) if word.rpartition("/")[2] == "realtime-bridge"]
            found += [words[at + 1 :] for at in starts[:1] if not {"pip", "-m"} & set(words[:at])]
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_documents_name_commands_and_options_that_exist(document):
    for arguments in uses(document):
        commands = [word for word in arguments[:1] if not word.startswith("-")]
        assert not commands or commands[0] in COMMANDS, arguments
        options = re.findall(r"--[\w-]+", program(*commands, "--help"))
        if len(words := [word for word in arguments[:2] if not word.startswith("-")]) == 2:  # perhaps `token create`
            options += re.findall(r"--[\w-]+", program(*words, "--help"))
        assert {word.split("=")[0] for word in arguments if word.startswith("--")} <= set(options), arguments


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_documents_link_to_files_that_exist(document):
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_documents_run_tests_and_benches_that_exist(document):
    words = [word.split("::")[0] for line in shell_lines(document) for word in line.split()]
    named = [word for word in words if word.startswith(("tests/", ".ci/", "infra/")) and "…" not in word]
    assert [word for word in named if not list(ROOT.glob(word.rstrip("/")))] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_there_and_explains_itself_with_an_example(command):
    shown = program(command, "--help")
    assert f"Example: realtime-bridge {command}" in shown
    assert command in program("--help")


def test_every_setting_says_what_it_does_and_is_printed():
    rows = {row.name: row.description for row in settings_table(Settings(_env_file=None))}
    assert set(rows) == {name.upper() for name in Settings.model_fields}
    assert [name for name, description in rows.items() if len(description.split()) < 3] == []
    printed = program("settings")
    assert [name for name in rows if name not in printed] == []


def test_every_environment_variable_that_is_read_is_a_setting():
    read = re.compile(
        r"""environ(?:ment)?(?:\.get\(|\[)["'](\w+)["']|envvar=["'](\w+)["']|["'](\w+)["'] (?:not )?in os\.environ"""
    )
    code = [path for path in files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES]
    names = {next(filter(None, found)) for path in code for found in read.findall(path.read_text(encoding="utf-8"))}
    assert names <= {name.upper() for name in Settings.model_fields}


def test_the_changelog_tells_of_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(PROJECT['version'])}\b", changelog, flags=re.MULTILINE)


def test_the_licence_is_the_one_that_is_declared():
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert licence.startswith(f"{PROJECT['license'].split()[0]} License")
    assert "the realtime-bridge authors" in licence
