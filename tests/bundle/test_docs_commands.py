"""Every command in a bundle's README: that it names what exists, and, when slow tests run, that it runs."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.export.commands import check_command, commands_of, run_commands, user_files
from tests.export.tiny import BUNDLES, ROOT, config, write_checkpoint

COMMANDS = [
    pytest.param(bundle, command, id=f"{bundle}-{number}")
    for bundle in BUNDLES
    for number, command in enumerate(commands_of(ROOT / "bundles" / bundle / "docs" / "README.md"))
]
SECTIONS = ["# Model Overview", "## Data", "## Training configuration", "## Input", "## Output", "## Performance"]
SECTIONS += ["## MONAI Bundle Commands", "# References", "# License"]


def readme(bundle: str) -> str:
    return (ROOT / "bundles" / bundle / "docs" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("bundle", BUNDLES)
def test_readme_has_the_sections_of_the_zoo(bundle):
    lines = readme(bundle).splitlines()
    places = [lines.index(section) for section in SECTIONS]
    assert places == sorted(places)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_readme_has_a_command_for_every_entry_point(bundle):
    text = "\n".join(commands_of(ROOT / "bundles" / bundle / "docs" / "README.md"))
    for part in (
        f"run --config_file bundles/{bundle}/train.json\n",
        "--epochs ",
        "--resume true",
        "torchrun ",
        "evaluate.json']",
        "inference.json --dataset_dir",
        "ckpt_export",
        "onnx_export",
        "ckdmed export",
    ):
        assert part in text, part


@pytest.mark.parametrize("bundle", [name for name in BUNDLES if name.startswith("seg_")])
def test_readme_states_the_defaults(bundle):
    train = config(bundle, "train.json")

    def defaults(*names: str) -> list[list[str]]:
        sizes = [train["profiles"][name] for name in names]
        return [[str(size[profile]) for size in sizes] for profile in ("full", "demo")]

    rows = {
        r"\| Input \|": defaults("image_size"),
        r"\| Widths? .*?\|": defaults(*(name for name in ("student_base", "teacher_base") if name in train)),
        r"\| Epochs.*?\|": defaults(*(name for name in ("epochs", "teacher_epochs") if name in train)),
        r"\| Batch \|": defaults("batch_size"),
        r"\| Optimizer \|": defaults("learning_rate"),
    }
    for label, sides in rows.items():
        (cells,) = re.findall(rf"^{label}(.*)\|(.*)\|$", readme(bundle), flags=re.MULTILINE)
        for cell, numbers in zip(cells, sides):
            assert list(dict.fromkeys(re.findall(r"\d+(?:\.\d+)?", cell))) == numbers, (label, cell)


@pytest.mark.parametrize(("bundle", "command"), COMMANDS)
def test_command_names_what_exists(bundle, command):
    check_command(command, ROOT)


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.parametrize("bundle", BUNDLES)
def test_commands_run_after_the_readmes_install(bundle, tmp_path, readme_python):
    # a copy of the folder beside nothing else: what the commands write stays out of the checkout
    shutil.copytree(
        ROOT / "bundles" / bundle,
        tmp_path / "bundles" / bundle,
        ignore=shutil.ignore_patterns("output", "models"),
    )
    write_checkpoint(tmp_path / "bundles" / bundle / "models" / "model.pt", bundle)
    run_commands(
        commands_of(tmp_path / "bundles" / bundle / "docs" / "README.md"),
        tmp_path,
        user_files(bundle, tmp_path / "user"),
        readme_python,
    )
    output = tmp_path / "bundles" / bundle / "output"
    for name in ("models/model.pt", "short/models/model.pt", "evaluation/summary.json", "inference/report.json"):
        assert (output / name).is_file(), name
    assert (tmp_path / "bundles" / bundle / "models" / "model.onnx").is_file()
    assert len(list(tmp_path.glob("*/configs/metadata.json"))) == 1
