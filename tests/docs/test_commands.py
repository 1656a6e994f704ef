"""`docs/commands.md` beside the command line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from ckdmed import cli
from ckdmed.bundle_files import bundles_folder
from ckdmed.cli.exit_status import STATUSES
from ckdmed.cli.run import WORKFLOWS

PAGE = Path(__file__).parents[2] / "docs/commands.md"


def test_the_page_has_the_table_of_exit_statuses():
    text = PAGE.read_text(encoding="utf-8")
    written = text.partition("<!-- exit statuses -->")[2].partition("<!-- end of exit statuses -->")[0].split("\n")
    rows = [line for line in written if re.match(r"\| \d", line)]
    assert rows == [f"| {status} | {meaning} |" for status, meaning in STATUSES.items()]


def test_the_page_names_the_files_of_every_workflow():
    text = PAGE.read_text(encoding="utf-8")
    for workflow, names in WORKFLOWS.items():
        files = [f"bundles/seg_kd/{name}" for name in names]
        assert all((bundles_folder().parent / file).is_file() for file in files)
        words = files[0] if len(files) == 1 else '"[' + ",".join(f"'{file}'" for file in files) + ']"'
        assert f"| `ckdmed run seg_kd {workflow}` | `--config_file {words}` |" in text


def test_the_commands_of_the_page_are_valid():
    text = PAGE.read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("ckdmed ")]
    assert commands
    parser = cli.build_parser([cli._load(name) for name in cli.COMMANDS])
    for command in commands:
        parser.parse_args(command)
