"""Every command of the README and of the pages in docs/, in an environment with nothing but the README's install.

The bundles' own pages have a test like this one in ``tests/bundle/test_docs_commands.py``.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from fire.parser import DefaultParseValue

from ckdmed import cli
from ckdmed.cli.run import WORKFLOWS
from ckdmed.experiments import EXPERIMENTS
from tests.export.commands import configs_of, options_of, tiny_arguments
from tests.install.environments import ROOT, Forks
from tests.install.stand_ins import make_files, write_student

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# these measure for minutes; their help needs all that they import
LONG = ("benchmarks/", "tools/fuzz.py")
# programs of others; an extra is installed, and its commands run, by tests/install/test_extras.py
OTHERS = ("pip", "npm", "tar", "mlflow")
# needs what only the tests need
OF_DEVELOPERS = ("tools/kills.py",)
# what a page brings along for its commands
FOLDERS = ("bundles", "benchmarks", "tools", "docs", "data_manifests")


def commands_of_page(page: Path) -> list[str]:
    """The commands in a page's blocks, and in the README's table of data; without those that install."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks if "-m venv" not in block for line in block.replace("\\\n", " ").splitlines()]
    if page == ROOT / "README.md":
        lines += re.findall(r"^\|.*\| `((?:python -m monai\.bundle|ckdmed) [^`]+)`", text, flags=re.MULTILINE)
    return [line.strip() for line in lines if line.strip() and line.split()[0] not in OTHERS]


def says_what_to_install(page: Path, printed: str) -> bool:
    """Whether a command has ended with the line that installs an extra which the page names."""
    asked = re.search(r"pip install '(ckdmed\[\w+\])'", printed)
    return asked is not None and asked[1] in page.read_text(encoding="utf-8")


def test_the_readme_and_the_pages_have_commands():
    found = {page.relative_to(ROOT).as_posix(): commands_of_page(page) for page in PAGES}
    assert len(found["README.md"]) >= 4 and len(found["docs/brats.md"]) >= 8
    assert sum(map(len, found.values())) >= 40


def prepared(command: str, folder: Path, python: Path) -> list[str]:
    """The command as it is run: in the environment, on small files, at small sizes."""
    words = shlex.split(command, comments=True)
    # variables of the shell, such as the number of threads
    while re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    words = make_files(words, folder)
    # a page may make one list after the other of the same cases
    if "brats-datalist" in words and (folder / words[words.index("brats-datalist") + 1] / "datalist.json").exists():
        words = [*words, "--force"]
    if words[:2] == ["ckdmed", "run"]:
        return run_of_command(words, folder, python)
    if "--config_file" in words and "monai.bundle" in words:
        return run_of_bundle(words, folder, python)
    if words[0] == "python":
        if words[1].startswith(LONG):
            return [str(python), words[1], "--help"]
        words = [str(python), *words[1:]]
    elif words[0] == "ckdmed":
        words = [str(python.with_name("ckdmed")), *words[1:]]
    # these take minutes to hours; with this word they check everything that they are given, and list what they would do
    if any(name in words for name in (*EXPERIMENTS, "robustness")) and not {"--dry-run", "--table-only"} & set(words):
        words = [*words, "--dry-run"]
    if "--dry-run" in words and "--output_dir" in words:
        # what pages report on lies in folders of these names, made with other settings, which a dry run refuses
        words[words.index("--output_dir") + 1] += "-planned"
    if words[-1] != "--help" and "phantoms" in words and "brats" in words[words.index("phantoms") :]:
        words += ["--shape", "32", "32", "24"]
    return words


def run_of_command(words: list[str], folder: Path, python: Path) -> list[str]:
    """`ckdmed run`, at the sizes at which `monai.bundle run` would be run in its place."""
    bundle, workflow, *settings = words[2:]
    own = []
    while "--config_file" in settings:
        at = settings.index("--config_file")
        own += settings[at : at + 2]
        del settings[at : at + 2]
    files = repr([*(f"bundles/{bundle}/{name}" for name in WORKFLOWS[workflow]), *own[1::2]])
    begin = ["python", "-m", "monai.bundle", "run", "--config_file", files]
    small = run_of_bundle([*begin, *settings], folder, python)[len(begin) :]
    return [str(python.with_name("ckdmed")), "run", bundle, workflow, *own, *small]


def run_of_bundle(words: list[str], folder: Path, python: Path) -> list[str]:
    options = options_of(words)
    checkpoint = options.get("checkpoint", "")
    config, *_ = configs_of(words)
    shipped = checkpoint.endswith("bundles/seg_kd/models/model.pt") or (
        config.endswith("inference.json") and not checkpoint
    )
    if checkpoint == "student.pt":
        values: dict[str, Any] = {key: DefaultParseValue(value) for key, value in options.items()}
        write_student(folder / checkpoint, Path(config).parent.name, values)
    if shipped or checkpoint == "student.pt":
        words = list(words)
    else:
        own = {name: options[name] for name in ("student_kind",) if name in options}
        words = tiny_arguments(shlex.join(_offline(words)), folder)
        if "teacher_folds" in options:
            own["teacher_folds"] = "2"
        for name, value in own.items():
            words[words.index(f"--{name}") + 1] = value
    words = [str(python), *words[1:]]
    return words if "--device" in words else [*words, "--device", "$torch.device('cpu')"]


def _offline(words: list[str]) -> list[str]:
    """Without published weights, which are downloaded."""
    at = [number for number, word in enumerate(words) if word == "imagenet"]
    return [word for number, word in enumerate(words) if number not in at and number + 1 not in at]


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.parametrize("page", [page for page in PAGES if commands_of_page(page)], ids=lambda page: page.stem.lower())
def test_every_command_runs_after_the_readmes_install(page: Path, readme_python: Path, checkout: Path, tmp_path: Path):
    for name in FOLDERS:
        shutil.copytree(checkout / name, tmp_path / name)
    failed = []
    forks = Forks(readme_python, tmp_path.with_suffix(".log"))
    for command in commands_of_page(page):
        if command.split()[1] in OF_DEVELOPERS:
            continue
        try:
            forks.run(prepared(command, tmp_path, readme_python), tmp_path)
        except AssertionError as error:
            if not says_what_to_install(page, str(error)):
                failed.append(f"$ {command}\n{error}")
    forks.close()
    assert not failed, "\n\n".join(failed)


def test_an_unknown_option_of_a_command_is_noticed():
    modules = {name.replace("_", "-"): name for name in cli.COMMANDS}
    for page in PAGES:
        for command in commands_of_page(page):
            words = shlex.split(command, comments=True)
            words = cli._in_full(words[words.index("ckdmed") + 1 :]) if "ckdmed" in words else []
            if words:
                cli.build_parser([cli._load(modules[words[0]])]).parse_args(words)
