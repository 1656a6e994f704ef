"""Settings that a run never reads are refused by name, where they were typed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser

from ckdmed.bundle.effective_settings import IneffectiveSettingError, ineffective
from ckdmed.bundle.errors import root_cause
from ckdmed.bundle.run import settings_of
from ckdmed.bundle.workflow import bundle_workflow
from tests.bundle.bundle_runs import BUNDLES
from tests.export.commands import ENTRY_POINTS, check_command

NAMES = sorted(path.parent.name for path in BUNDLES.glob("*/train.json"))
CONFIG: dict[str, Any] = {
    "a": 1,
    "b": "$@a + 1",
    "lost": "$@deep",
    "deep": 2,
    "section": {"used": {"x": "@b", "y": [1, {"z": 0}]}, "idle": "@lost"},
    "initialize": [],
    "run": ["$print(@section#used)"],
    "finalize": [],
}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["a", "b"], []),
        # read by something that nothing reads
        (["lost", "deep"], ["deep", "lost"]),
        (["section#used#x", "section::used::y::1::z", "section#used", "section"], []),
        (["section#idle"], ["section::idle"]),
        # words of the command line that are no settings
        (["config_file", "run_id"], []),
    ],
)
def test_references_are_followed_from_the_entry_points(given: list[str], found: list[str]) -> None:
    assert ineffective(CONFIG, given, ENTRY_POINTS) == found


def test_another_entry_point_reaches_other_settings() -> None:
    assert ineffective({**CONFIG, "other": ["@lost"]}, ["deep", "a"], ["other"]) == ["a"]


@pytest.mark.parametrize("files", [("train.json",), ("train.json", "multi_gpu_train.json"), ("inference.json",)])
@pytest.mark.parametrize("bundle", NAMES)
def test_every_setting_of_a_file_has_an_effect_in_its_own_run(bundle: str, files: tuple[str, ...]) -> None:
    parser = ConfigParser()
    parser.read_config([str(BUNDLES / bundle / name) for name in files])
    assert ineffective(parser.get(), settings_of(parser), ENTRY_POINTS) == []


def started(monkeypatch: pytest.MonkeyPatch, bundle: str, configs: tuple[str, ...], typed: dict[str, str]) -> None:
    """The first check of a command, and nothing after it."""
    words = [word for name, value in typed.items() for word in (f"--{name}", value)]
    files = str([str(BUNDLES / bundle / name) for name in configs])
    monkeypatch.setattr("sys.argv", ["monai.bundle", "run", "--config_file", files, *words])
    given = {name: DefaultParseValue(value) for name, value in typed.items()}
    made = bundle_workflow(BUNDLES / bundle, given, configs)
    made.parser.parse(True)
    made._run_expr("initialize::0")


@pytest.mark.parametrize("bundle", NAMES)
def test_an_evaluation_refuses_settings_of_the_training(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = {"epochs": "5", "learning_rate": "0.1", "split_seed": "3", "train#trainer#max_epochs": "5"}
    with pytest.raises(Exception) as raised:
        started(monkeypatch, bundle, ("train.json", "evaluate.json"), typed)
    cause = root_cause(raised.value)
    assert isinstance(cause, IneffectiveSettingError)
    assert str(cause).startswith("--epochs, --learning_rate, --train#trainer#max_epochs: no effect in this run")
    assert "train.json with evaluate.json" in str(cause) and "leave them out" in str(cause)
    started(monkeypatch, bundle, ("train.json",), typed)


def test_what_a_program_hands_over_is_not_refused() -> None:
    made = bundle_workflow(BUNDLES / "seg_kd", {"epochs": 5, "teacher_epochs": 2}, ("train.json", "evaluate.json"))
    made.parser.parse(True)
    made._run_expr("initialize::0")


def documented() -> list[Any]:
    pages = [*sorted((BUNDLES.parent / "docs").glob("*.md")), BUNDLES.parent / "README.md"]
    found = []
    for page in pages:
        blocks = "\n".join(re.findall(r"```\w*\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL))
        # a bundle that the page lets its reader copy
        for name, copy in re.findall(r"^ckdmed bundle (\w+) (\w+)$", blocks, flags=re.MULTILINE):
            blocks = blocks.replace(f" {copy}/", f" bundles/{name}/")
        for number, line in enumerate(blocks.replace("\\\n", " ").splitlines()):
            # a page's reader may write a configuration of their own
            written = [name for name in re.findall(r"[\w/.]+\.json", line) if not name.startswith("bundles/")]
            if re.match(r"(python|torchrun) .*monai\.bundle run ", line) and not written:
                found.append(pytest.param(line, id=f"{page.stem}-{number}"))
    return found


@pytest.mark.parametrize("command", documented())
def test_commands_of_the_documents_give_settings_that_exist_and_have_an_effect(command: str) -> None:
    check_command(command, BUNDLES.parent)
