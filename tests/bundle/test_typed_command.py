"""What a record says of its command, asked of processes that were started in each of the ways."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import ckdmed.bundle.typed_command
from ckdmed.bundle.typed_command import started_by, typed_command

# the file alone: the package would import torch in every process
ASK = f"""
import importlib.util, json
spec = importlib.util.spec_from_file_location("typed", {ckdmed.bundle.typed_command.__file__!r})
typed = importlib.util.module_from_spec(spec)
spec.loader.exec_module(typed)
print(json.dumps(typed.typed_command()))
"""
PYTHON = Path(sys.executable).name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    for name in ("package/inner/__main__.py", "package/module.py", "tools/script.py", "program"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(ASK, encoding="utf-8")
    (folder / "program").write_text(f"#!{sys.executable}\n{ASK}", encoding="utf-8")
    (folder / "program").chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("started", "said"),
    [
        (["-m", "package.inner", "run", "--lr", "0.1"], [PYTHON, "-m", "package.inner", "run", "--lr", "0.1"]),
        (["-m", "package.module", "a b"], [PYTHON, "-m", "package.module", "a b"]),
        (["-u", "-X", "utf8", "-m", "package.inner", "-u"], [PYTHON, "-m", "package.inner", "-u"]),
        (["tools/script.py", "--check"], [PYTHON, "tools/script.py", "--check"]),
        (["{folder}/tools/script.py", "--check"], [PYTHON, "script.py", "--check"]),
        (["{folder}/program", "compare"], ["program", "compare"]),
        (["-c", ASK, "-c"], [PYTHON, "-c", ASK, "-c"]),
    ],
    ids=["package", "module", "interpreter options", "script", "absolute script", "program by python", "code"],
)
def test_each_way_to_start(folder: Path, started: list[str], said: list[str]) -> None:
    words = [word if word == ASK else word.format(folder=folder) for word in started]
    found = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == said


@pytest.mark.skipif(sys.platform == "win32", reason="Windows starts no file by its first line")
def test_a_program_on_the_path(folder: Path) -> None:
    found = subprocess.run([str(folder / "program"), "compare"], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == ["program", "compare"]


def test_in_a_session_without_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [""])
    monkeypatch.setattr(sys, "orig_argv", [str(Path("folder", "python3").absolute())])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert typed_command() == ["python3"]


def test_a_job_has_the_command_of_whom_it_works_for() -> None:
    own = typed_command()
    with started_by(["ckdmed", "experiment", "methods"]):
        assert typed_command() == ["ckdmed", "experiment", "methods"]
        with pytest.raises(KeyError), started_by(("another",)):
            raise KeyError(*typed_command())
        assert typed_command() == ["ckdmed", "experiment", "methods"]
    assert typed_command() == own != []
