"""The zoo's rules for a bundle's files: which there are, what must not stand in them, how they are formatted."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ckdmed.export.configs import json_text, read_object

__all__ = ["REQUIRED_FILES", "formatting_problems", "machine_paths"]

REQUIRED_FILES = (
    "LICENSE",
    "configs/metadata.json",
    "configs/inference.json",
    "configs/train.json",
    "configs/evaluate.json",
    "configs/multi_gpu_train.json",
    "configs/logging.conf",
    "docs/README.md",
    "docs/data_license.txt",
    "models/model.pt",
)

# homes, mounts and temporary folders; "/workspace/data/<name>" is what the zoo suggests and passes, and what an
# expression appends to a path of the bundle ("+ '/data/...'") is relative
_MACHINE_PATH = re.compile(
    rb"(?<![\w.:/])(?<!\+ ['\"])/(?:home|Users|root|mnt|media|work|data|srv|scratch|tmp|var|opt)/[\w.-]+"
    rb"|(?<![\w])[A-Za-z]:\\\\?(?:Users|home)\b|(?<![\w])~/[\w.-]+|file://"
)
_TEXT_SUFFIXES = {".json", ".md", ".txt", ".conf", ".yml", ".yaml", ".py", ""}


def machine_paths(folder: Path) -> list[str]:
    """Absolute paths of somebody's machine in texts, and of this one in the TorchScript file: "file: path"."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in _TEXT_SUFFIXES:
            found += [f"{path.relative_to(folder)}: {text}" for text in _matches(path.read_bytes())]
    scripted = folder / "models/model.ts"
    if scripted.is_file():
        with zipfile.ZipFile(scripted) as archive:
            for name in archive.namelist():
                # tensors are bytes in which anything can be read
                if re.search(r"/(data|constants)/[^/]*$", name) is None:
                    found += [f"models/model.ts/{name}: {text}" for text in _matches(archive.read(name))]
    return found


def _matches(content: bytes) -> Iterator[str]:
    for match in _MACHINE_PATH.finditer(content):
        yield match.group(0).decode("utf-8", "replace")


def formatting_problems(folder: Path) -> list[str]:
    """JSON that is not indented by four spaces; Python that black (120 columns), isort or flake8 would change."""
    problems = []
    for path in sorted(folder.rglob("*.json")):
        if path.read_text(encoding="utf-8") != json_text(read_object(path)):
            problems.append(f"{path.relative_to(folder)} is not indented by four spaces with a newline at its end")
    if any(folder.rglob("*.py")):
        problems += _python_problems(folder)
    return problems


def _python_problems(folder: Path) -> list[str]:
    commands = {
        "black": ["--check", "--quiet", "--line-length", "120"],
        "isort": ["--check-only", "--quiet", "--profile", "black", "--line-length", "120"],
        "flake8": ["--max-line-length", "120", "--extend-ignore", "E203,W503,E704"],
    }
    problems = []
    for tool, options in commands.items():
        if importlib.util.find_spec(tool) is None:
            problems.append(f"{tool} is not installed and the bundle has Python files: pip install {tool}")
        elif subprocess.run([sys.executable, "-m", tool, *options, str(folder)], capture_output=True).returncode:
            problems.append(f"{tool} finds fault with the bundle's Python files")
    return problems
