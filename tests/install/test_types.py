"""Type checkers see the package after the README's install."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.install.environments import environment_of, install, run

PROGRAM = """
import ckdmed
from ckdmed.data import FigshareMatReader
reveal_type(ckdmed.__version__)
reveal_type(ckdmed.data.FigshareMatReader.field)
reveal_type(ckdmed.files.write_json)
FigshareMatReader(fields="image")
"""


@pytest.mark.slow
def test_mypy_sees_the_package_and_its_signatures(checkout: Path, tmp_path: Path):
    # the packages that it builds on only make the check longer
    python = environment_of(tmp_path / "environment", {"setuptools"})
    install(python, "--editable", str(checkout))
    (tmp_path / "program.py").write_text(PROGRAM)
    words = ["--python-executable", str(python), "--ignore-missing-imports", "--cache-dir", str(tmp_path / "cache")]
    printed = run([sys.executable, "-m", "mypy", *words, "program.py"], tmp_path, 1)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    assert 'Revealed type is "str"' in printed
    assert "import-untyped" not in printed and "import-not-found" not in printed
    assert 'Unexpected keyword argument "fields" for "FigshareMatReader"' in printed, printed
