"""Builds `ckdmed-runtime` out of those modules of `ckdmed` that do without PyTorch; nothing is kept twice.

The modules are found by following imports from `ckdmed.runtime`. They lie in the package `ckdmed_runtime` under their
own names, so that both distributions can be installed side by side.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent.parent
SOURCE, TARGET = "ckdmed", "ckdmed_runtime"
FORBIDDEN = {"torch", "monai", "ignite", "skimage", "scipy"}
# run as a program of its own by the module that stands first
COMPANIONS = {"ckdmed/data/pixel_decoder.py": ["ckdmed/data/decoding_child.py"]}
_OWN_IMPORT = re.compile(rf"^(\s*(?:from|import) ){SOURCE}(?=[. ])", re.MULTILINE)
_INIT = '"""{}"""\n'


def version() -> str:
    text = (ROOT / SOURCE / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]  # type: ignore[index]


def modules() -> list[str]:
    """Files of the distribution, relative to the repository.

    Raises:
        ValueError: one of them imports what is not there without PyTorch.
    """
    found: list[str] = []
    waiting = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / SOURCE / "runtime").glob("*.py"))]
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        found.append(name)
        waiting += COMPANIONS.get(name, [])
        for imported in _imports(ROOT / name):
            if imported.partition(".")[0] in FORBIDDEN:
                raise ValueError(f"{name} imports {imported}, which ckdmed-runtime does without.")
            if imported.startswith(f"{SOURCE}."):
                waiting += _files_of(imported)
    return sorted(found)


def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _files_of(module: str) -> list[str]:
    """Of a module its file; the `__init__` of packages other than `runtime` import all of theirs and are left out."""
    path = Path(*module.split("."))
    return [path.with_suffix(".py").as_posix()] if (ROOT / path.with_suffix(".py")).is_file() else []


class BuildFromCkdmed(build_py):
    """Copies the modules under the distribution's name."""

    def run(self) -> None:
        place = Path(self.build_lib) / TARGET
        for name in modules():
            target = place / Path(name).relative_to(SOURCE)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = (ROOT / name).read_text(encoding="utf-8")
            target.write_text(_OWN_IMPORT.sub(rf"\g<1>{TARGET}", text), encoding="utf-8")
        first = (
            'Masks and classes from deployed networks, without PyTorch; built from ckdmed."""\n\n__version__ = "{}"\n\n'
        )
        names = f"from {TARGET}.runtime import *  # noqa: F403\nfrom {TARGET}.runtime import __all__  # noqa: F401\n"
        (place / "__init__.py").write_text('"""' + first.format(version()) + names, encoding="utf-8")
        for folder in {path.parent for path in place.rglob("*.py")}:
            if not (folder / "__init__.py").exists():
                (folder / "__init__.py").write_text(_INIT.format("Readers, as in ckdmed."), encoding="utf-8")

    def get_source_files(self) -> list[str]:
        # outside of this folder; a source distribution is that of the whole repository
        return []

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [str(Path(self.build_lib) / TARGET / Path(name).relative_to(SOURCE)) for name in modules()]


if __name__ == "__main__":
    setup(version=version(), packages=[TARGET], cmdclass={"build_py": BuildFromCkdmed})
