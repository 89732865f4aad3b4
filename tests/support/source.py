"""The project's own files and modules, for tests about the code itself."""

import ast
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("realtime_bridge", "telephony")
_FOLDERS = (".ci", "infra", "tests", *PACKAGES)
_LEAVINGS = {"__pycache__"}


@cache
def files() -> tuple[Path, ...]:
    """Every file of the project, without what builds, runs and caches leave behind."""
    found = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".env"]
    for folder in _FOLDERS:
        for base, folders, names in os.walk(ROOT / folder):
            folders[:] = [name for name in folders if name not in _LEAVINGS]
            found += [Path(base, name) for name in names]
    return tuple(sorted(found))


@dataclass(frozen=True)
class Import:
    """One imported module (`realtime_bridge.wire.client`), or a name out of one (`time.monotonic`)."""

    name: str
    line: int
    at_start: bool
    """Whether importing the module imports this too; an import within a function waits until the function is called."""


@dataclass(frozen=True)
class Module:
    """A module of the two packages, parsed."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def where(self) -> str:
        """Its path as it is written in messages."""
        return str(self.path.relative_to(ROOT))

    def imports(self) -> list[Import]:
        """All of them, each imported name in full."""
        found = []
        for node, at_start in _walk(self.tree, at_start=True):
            match node:
                case ast.Import(names=names):
                    found += [Import(alias.name, node.lineno, at_start) for alias in names]
                case ast.ImportFrom(module=str(module), names=names, level=0):
                    found += [Import(f"{module}.{alias.name}", node.lineno, at_start) for alias in names]
                case ast.ImportFrom():
                    raise AssertionError(f"{self.where}:{node.lineno}: a relative import; write it in full")
        return found

    def own_imports(self) -> list[Import]:
        """The modules of this project among them: the module that holds the name, where a name is imported."""
        known = modules()
        found = []
        for imported in self.imports():
            for name in (imported.name, imported.name.rpartition(".")[0]):
                if name in known:
                    found.append(Import(name, imported.line, imported.at_start))
                    break
        return found


@cache
def imported_names(path: Path) -> list[str]:
    """All that a file of Python imports, each name in full."""
    return [
        imported.name for imported in Module(path.stem, path, ast.parse(path.read_text(encoding="utf-8"))).imports()
    ]


@cache
def modules() -> dict[str, Module]:
    """Every module of the packages, by name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8")))
    return found


def _walk(node: ast.AST, *, at_start: bool):
    """Every node below, and whether it is run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        yield child, at_start
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from _walk(child, at_start=False)
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body, orelse=orelse):
                yield from _walk(ast.Module(body, []), at_start=False)
                yield from _walk(ast.Module(orelse, []), at_start=at_start)
            case _:
                yield from _walk(child, at_start=at_start)
