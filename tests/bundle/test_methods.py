"""Every method trains in every bundle that it fits, chosen by its name; and one of one's own by a mapping."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from ckdmed.bundle import WrongSettingError
from ckdmed.bundle.errors import root_cause
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.engines import weights_hash
from ckdmed.methods import methods
from tests.bundle import cls_runs, seg_kd_runs, test_brats_bundles, test_brats_unimodal
from tests.bundle.broken_off import break_off
from tests.bundle.bundle_runs import completed, history

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]

FAST = {"seg_kd-cwd", "cls_kd-tokens"}


@pytest.fixture(scope="module")
def brats(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("brats")
    return {"sections#phantom_dir": str(folder / "phantoms"), "cache_dir": str(folder / "cache")}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_brats_phantoms(folder, 6, (24, 24, 16), time_points=(1, 1), progress=False)
    return folder


def opened(bundle: str, folder: Path, request: pytest.FixtureRequest, **settings: Any) -> ConfigWorkflow:
    if bundle == "seg_kd":
        return seg_kd_runs.workflow(folder, **settings)
    if bundle == "cls_kd":
        return cls_runs.workflow("cls_kd", folder, **settings)
    if bundle.startswith("brats_"):
        return test_brats_bundles.workflow(bundle, folder, **request.getfixturevalue("brats"), **settings)
    return test_brats_unimodal.workflow(folder, request.getfixturevalue("cases"), **settings)


def _cases() -> list[Any]:
    tasks = {
        "seg_kd": "segmentation",
        "brats_seg_kd": "regions",
        "cls_kd": "classification",
        "brats_unimodal_kd": "unimodal",
    }
    found = []
    for bundle, task in tasks.items():
        for name in methods(task):
            marks = [] if f"{bundle}-{name}" in FAST else [pytest.mark.slow]
            found.append(pytest.param(bundle, name, id=f"{bundle}-{name}", marks=marks))
    return found


@pytest.mark.parametrize(("bundle", "name"), _cases())
def test_a_method_trains(tmp_path: Path, request: pytest.FixtureRequest, bundle: str, name: str):
    shared = {"label_fraction": 0.5, "phantom_patients": 20} if name == "hard_pseudo" else {}
    if bundle.startswith("brats_"):
        shared.pop("phantom_patients", None)
    # a term that rises over the first twelfth of the training, or is off in its last tenth, is seen in between
    # angles between images need three of them
    made = opened(bundle, tmp_path, request, method=name, epochs=1, batch_size=3 if name == "rkd" else 2, **shared)
    seen: dict[str, list[float]] = {}

    def look(engine: Any) -> None:
        for term, value in engine.state.terms.items():
            seen.setdefault(term, []).append(float(value))

    made.trainer.add_event_handler(Events.ITERATION_COMPLETED, look)
    before = weights_hash(made.network_def)
    completed(made)
    assert weights_hash(made.network_def) != before
    # all that the registry's function gives
    expected = set(made.parser.get_parsed_content("distillation_loss").terms)
    # teachers that learn have terms of their own
    of_teachers = {term for term in seen if term.startswith(("teacher_", "mutual_"))}
    assert set(seen) - of_teachers == expected and bool(of_teachers) == (name == "mutual")
    (row,) = history(tmp_path)
    assert set(row["terms"]) == set(seen)
    for term, values in seen.items():
        assert all(torch.isfinite(torch.tensor(values))) and len(set(values)) > 1, (term, values)
    state = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert state.keys() == made.network_def.state_dict().keys()


MINE = """
from ckdmed.losses import LogitMSELoss, LossTerm
from ckdmed.methods import Task


def my_method(task: Task, w_sup: float = 1.0, w_logit: float = 1.0):
    return {
        "supervised": LossTerm(task.supervised, "target", w_sup),
        "mine": LossTerm(LogitMSELoss(), "logits", w_logit),
    }
"""


def test_a_method_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine_for_a_test.py").write_text(MINE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    given = {"_target_": "mine_for_a_test.my_method", "w_logit": 3.0}
    made = seg_kd_runs.run(tmp_path / "out", method=given, w_sup=0.5)
    assert made.trainer.state.weights == {"supervised": 0.5, "mine": 3.0}
    settings = json.loads((tmp_path / "out" / "settings.json").read_text(encoding="utf-8"))["settings"]
    assert settings["method"]["_target_"] == "mine_for_a_test.my_method"
    sys.modules.pop("mine_for_a_test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "crossarch"}, r"--method must be one of at, ckd, .*_target_.*, got 'crossarch'"),
        ({"method": "ours"}, "'ours' of --method is called 'ckd' now"),
        ({"preset": "ours"}, "--preset is called --method now"),
        ({"method": "cwd", "w_edge": 0.1}, "the method 'cwd' has no use for w_edge=0.1; its options are: w_sup"),
        ({"method": "supervised", "temperature": 2.0}, "has no use for temperature=2.0"),
        ({"scale_weights": "learned"}, "needs the scales that it weights"),
    ],
)
def test_what_is_refused_before_anything_is_written(tmp_path: Path, settings: dict, message: str):
    with pytest.raises(Exception) as caught:
        seg_kd_runs.workflow(tmp_path / "out", **settings)
    cause = root_cause(caught.value)
    with pytest.raises(type(cause), match=message):
        raise cause
    assert isinstance(cause, (ValueError, WrongSettingError)) and not (tmp_path / "out" / "settings.json").exists()


@pytest.mark.slow
def test_learned_weights_of_scales_resume_to_the_same_end(tmp_path: Path):
    settings = {"scales": [None, 1, 2], "scale_weights": "learned", "epochs": 3, "w_feat": 50.0, "batch_size": 4}
    unbroken = seg_kd_runs.run(tmp_path / "a", **settings)
    broken = seg_kd_runs.workflow(tmp_path / "b", **settings)
    break_off(broken, Events.EPOCH_STARTED(once=3))
    resumed = seg_kd_runs.run(tmp_path / "b", **settings, resume=True)
    moved = []
    for made in (unbroken, resumed):
        student = made.parser.get_parsed_content("student")
        moved.append((weights_hash(student), student.loss_parameters[0].detach().tolist()))
    assert moved[0] == moved[1] and max(map(abs, moved[0][1])) > 1e-4
    state = torch.load(tmp_path / "a" / "models" / "model.pt", weights_only=True)
    assert not [name for name in state if "loss" in name or "scale" in name]


@pytest.mark.slow
@pytest.mark.parametrize("bundle", ["seg_kd", "cls_kd", "brats_unimodal_kd"])
def test_a_training_in_float16(tmp_path: Path, request: pytest.FixtureRequest, bundle: str):
    settings = {"teacher_mode": "online"} if bundle == "brats_unimodal_kd" else {}
    made = completed(opened(bundle, tmp_path, request, amp="fp16", epochs=2, **settings))
    assert made.trainer.scaler.is_enabled() and history(tmp_path)[-1]["loss"] > 0
    newest = sorted((tmp_path / "models").glob("resume_epoch=*.pt"))[-1]
    assert torch.load(newest, weights_only=True)["scaler"]["scale"] > 0


def test_attention_is_split_into_the_heads_that_the_teacher_has(tmp_path: Path) -> None:
    options = {"vit_heads": 2, "vit_hidden": 16}
    made = seg_kd_runs.workflow(tmp_path, method="cross_architecture", teacher_options=options, vit_heads=4)
    assert made.parser.get_parsed_content("distillation_loss").terms["attention"].loss.heads == 2
