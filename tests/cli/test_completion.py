"""What the Tab key offers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckdmed.bundle.settings_list import bundle_defaults
from ckdmed.bundle.settings_table import FOLLOWS
from ckdmed.bundle_files import bundle_folder, bundle_names, bundles_folder
from ckdmed.cli import COMMANDS
from ckdmed.cli.completion import setting_names
from ckdmed.cli.run import WORKFLOWS


def offered(line: str, tmp_path: Path) -> list[str]:
    """What the shell is answered when Tab is pressed at the end of a line."""
    answer = tmp_path / "answer"
    variables = {
        **os.environ,
        **{"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)},
        **{"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9", "_ARGCOMPLETE_COMP_WORDBREAKS": " "},
    }
    subprocess.run(
        [sys.executable, "-c", "import sys; from ckdmed.cli import main; sys.argv = ['ckdmed']; main()"],
        env=variables,
        cwd=tmp_path,
        check=False,
        capture_output=True,
    )
    return [word.strip() for word in answer.read_text().split("\n")]


def test_commands_bundles_workflows_and_settings_are_offered(tmp_path):
    pytest.importorskip("argcomplete")
    commands = [name.replace("_", "-") for name in COMMANDS]
    assert set(commands) <= set(offered("ckdmed ", tmp_path))
    assert {"seg_kd", "seg_teacher"} == set(offered("ckdmed run seg_", tmp_path))
    assert set(WORKFLOWS) <= set(offered("ckdmed run seg_kd ", tmp_path))
    assert offered("ckdmed run seg_kd train --teacher_ep", tmp_path) == ["--teacher_epochs"]
    assert "seg_kd" in offered("ckdmed settings seg_", tmp_path)


@pytest.mark.parametrize("bundle", bundle_names(bundles_folder()))
def test_what_is_offered_are_settings(bundle):
    known = bundle_defaults(bundle_folder(bundle))
    for workflow, files in WORKFLOWS.items():
        names = setting_names(bundle, workflow)
        assert "checkpoint" in names if workflow != "train" else "epochs" in names
        settings = {name for file in files for name in known[file]}
        # told apart without torch, by their form: what follows from settings may be among them
        assert len(set(names) - settings - FOLLOWS) <= 3


def test_nothing_is_offered_of_an_unknown_bundle():
    assert setting_names("nothing", "train") == []
