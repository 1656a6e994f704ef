from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ckdmed.bundle import WrongSettingError
from ckdmed.bundle.errors import root_cause
from ckdmed.bundle.workflow import bundle_workflow
from tests.bundle.bundle_runs import BUNDLES

pytestmark = pytest.mark.usefixtures("process_as_it_was")

FILES = ("train.json", "evaluate.json")
NAMES = sorted(path.parent.name for path in BUNDLES.glob("*/evaluate.json"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    """Of a training of one fold."""
    settings = {"epochs": 1, "fold": 0, "n_folds": 4, "split_seed": 2, "train_on_validation": False}
    (tmp_path / "model.json").write_text(json.dumps({"settings": settings}))
    return str(tmp_path / "model.pt")


def check(checkpoint: str, sections: tuple[str, ...] = ("test", "new"), **settings: Any) -> None:
    only = {"initialize": [f"$ckdmed.bundle.check_split_settings(@checkpoint, {sections})"], "finalize": []}
    bundle_workflow(BUNDLES / "seg_kd", {"checkpoint": checkpoint, **settings, **only}, FILES).initialize()


def test_an_evaluation_scores_no_fold_but_that_of_the_training(checkpoint: str):
    with pytest.raises(Exception) as raised:
        check(checkpoint, fold=1, n_folds=4, split_seed=3)
    cause = root_cause(raised.value)
    assert isinstance(cause, WrongSettingError)
    told = "--fold is 1, but that of the training was 0; --split_seed is 3, but that of the training was"
    assert str(cause).startswith(told)


def test_the_settings_of_the_training_may_be_repeated(checkpoint: str):
    check(checkpoint, fold=0, n_folds=4, split_seed=2, train_on_validation=False)


def test_a_split_that_is_drawn_anew_may_be_another(checkpoint: str):
    check(checkpoint, ("train", "validation", "test"), fold=1)


@pytest.mark.parametrize("bundle", NAMES)
def test_every_evaluation_looks(bundle: str):
    content = json.loads((BUNDLES / bundle / "evaluate.json").read_text())
    assert "$ckdmed.bundle.check_split_settings(@checkpoint, @sections)" in content["initialize"]
