"""An evaluation goes to the run of its checkpoint and replaces no other evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow

from ckdmed.bundle import evaluation_folder
from ckdmed.bundle.errors import RefusedStart, root_cause
from ckdmed.bundle.run_lock import hold, in_use, release
from ckdmed.bundle.typed_settings import taken_from
from ckdmed.engines.teachers.folds import TeacherFolds
from ckdmed.file_hash import sha256_of
from ckdmed.files import save_weights
from ckdmed.inference.network_state import NetworkState
from ckdmed.networks.checkpoint import read_checkpoint
from tests.bundle.bundle_runs import BUNDLES
from tests.other_process import after

pytestmark = pytest.mark.usefixtures("process_as_it_was")


@pytest.fixture()
def runs(tmp_path: Path) -> Path:
    """Two runs of a bundle whose folder this is, `output` and `output-2`."""
    for name in ("output", "output-2"):
        (tmp_path / name / "models").mkdir(parents=True)
        (tmp_path / name / "models/model.pt").write_bytes(name.encode())
        (tmp_path / name / "settings.json").write_text('{"settings": {"epochs": 1}}')
    return tmp_path


def evaluation(runs: Path, checkpoint: str | None = None, bundle: str = "seg_kd", **settings: Any) -> ConfigWorkflow:
    """The bundle's evaluation, which only finds out where it writes."""
    if checkpoint is not None:
        settings["checkpoint"] = str(runs / checkpoint)
    files = [str(BUNDLES / bundle / name) for name in ("train.json", "evaluate.json")]
    check = "$ckdmed.bundle.check_evaluation_folder(@evaluation_dir, @checkpoint, section=@section)"
    noted = "$ckdmed.bundle.evaluation_settings(@checkpoint, section=@section)"
    only = {"initialize": ["$ckdmed.bundle.check_settings()", "$@evaluation_dir", check], "run": [noted]}
    made = ConfigWorkflow(files, meta_file=None, logging_file=False, bundle_root=str(runs), **only, **settings)
    setattr(made, "given", tuple(settings))
    made.initialize()
    return made


def folder(runs: Path, checkpoint: str | None = None, **settings: Any) -> str:
    found = evaluation(runs, checkpoint, **settings).parser.get_parsed_content("evaluation_dir")
    return Path(found).relative_to(runs).as_posix()


def evaluated(runs: Path, checkpoint: str, **settings: Any) -> str:
    """Leave what such an evaluation leaves; its folder."""
    made = evaluation(runs, checkpoint, **settings)
    place = Path(made.parser.get_parsed_content("evaluation_dir"))
    place.mkdir(exist_ok=True)
    (record,) = made.run()
    (place / "summary.json").write_text(json.dumps({"settings": record}))
    return place.relative_to(runs).as_posix()


def test_what_cross_fitted_teachers_scored_is_noted(runs: Path) -> None:
    scores = {"metric": "val_mean_dice", "in_fold": 0.9, "out_of_fold": 0.6, "folds": []}
    folds = TeacherFolds(2, {"a": 0, "b": 1}, scores=scores)
    settings = {"epochs": 1, "method": "kd", "teacher_folds": 2}

    def noted(checkpoint: str = "output/models/model.pt", **more: Any) -> Any:
        record = json.dumps({"settings": {**settings, **more}})
        (runs / "output/settings.json").write_text(record, encoding="utf-8")
        return evaluation(runs, checkpoint).run()[0].get("teacher_scores")

    assert noted() is None
    folds.write(own := runs / "output/teacher/folds.json", ["fold1/teacher.pt", "fold2/teacher.pt"], ["1", "2"])
    assert noted() == {"record": str(own), **scores}
    assert noted(method="supervised") is None and noted(teacher_folds=1) is None
    # teachers of another run
    folds.scores = {**scores, "in_fold": 0.8}
    folds.write(given := runs / "folds.json", ["a.pt", "b.pt"], ["1", "2"])
    assert noted(teacher_checkpoint=str(given)) == {"record": str(given), **folds.scores}
    # one of the teachers itself
    (runs / "output/teacher/teacher.pt").write_bytes(b"teacher")
    assert noted("output/teacher/teacher.pt") is None
    assert noted("output-2/models/model.pt") is None


@pytest.mark.parametrize("bundle", sorted(path.parent.name for path in BUNDLES.glob("*/evaluate.json")))
def test_the_run_of_the_checkpoint_else_the_latest(runs: Path, bundle: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert folder(runs, "output/models/model.pt", bundle=bundle) == "output/evaluation"
        assert f"the run of the checkpoint is {runs / 'output'}\n" in caplog.text
        assert folder(runs, bundle=bundle) == "output-2/evaluation"
        assert f"the latest run is {runs / 'output-2'}\n" in caplog.text


def test_all_that_an_evaluation_reads_of_a_run_is_of_that_run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = evaluation(runs, "output/models/model.pt", bundle="cls_kd").parser
    assert parser.get_parsed_content("teacher_file") == str(runs / "output/teacher/teacher.pt")
    assert parser.get_parsed_content("cache_dir") == str(runs / "output/cache")
    # from within the run's folder
    monkeypatch.chdir(runs / "output")
    parser = evaluation(Path("."), "models/model.pt", bundle="cls_kd").parser
    assert parser.get_parsed_content("teacher_file") == str(runs / "output/teacher/teacher.pt")


def test_weights_of_no_run(runs: Path) -> None:
    (runs / "models").mkdir()
    (runs / "models/shipped.pt").write_bytes(b"x")
    (runs / "models/shipped.json").write_text('{"settings": {"epochs": 1}}')
    assert folder(runs, "models/shipped.pt") == "evaluation-shipped"


@pytest.mark.parametrize("name", ["mine", "mine#2"])
def test_a_given_output_dir_goes_first(runs: Path, name: str) -> None:
    literal = "$" + repr(str(runs / name)).replace("#", r"\x23") if "#" in name else str(runs / name)
    assert folder(runs, "output/models/model.pt", output_dir=literal) == f"{name}/evaluation"
    assert evaluation_folder(str(runs / name), "output/models/model.pt") == str(runs / name / "evaluation")


def test_no_other_evaluation_is_replaced(runs: Path) -> None:
    name = "output/models/model.pt"
    assert evaluated(runs, name) == "output/evaluation"
    assert folder(runs, name) == "output/evaluation"
    # neither changes a result
    assert folder(runs, name, num_workers=1, batch_size=3) == "output/evaluation"
    for other in ({"tta": True}, {"section": "validation"}, {"fold": 1}, {"image_size": 64}):
        assert folder(runs, name, **other) == "output/evaluation-2"
    assert evaluated(runs, name, section="validation") == "output/evaluation-2"
    assert folder(runs, name, section="validation") == "output/evaluation-2"
    (runs / name).write_bytes(b"trained further")
    assert folder(runs, name) == "output/evaluation-3"


@pytest.mark.parametrize("bundle", ["cls_kd", "seg_teacher"])
def test_an_evaluation_from_before_a_setting_had_its_default(runs: Path, bundle: str) -> None:
    given: dict[str, Any] = {"bundle": bundle, "batch_size": 3}
    name = "output/models/model.pt"
    assert evaluated(runs, name, **given) == "output/evaluation"
    summary = runs / "output/evaluation/summary.json"
    record = json.loads(summary.read_text())
    del record["settings"]["settings"]["corruption"]
    summary.write_text(json.dumps(record))
    assert folder(runs, name, **given) == folder(runs, name, corruption=None, **given) == "output/evaluation"
    assert folder(runs, name, corruption="noise-3", **given) == "output/evaluation-2"
    # whatever came later
    record["settings"]["settings"] = {}
    summary.write_text(json.dumps(record))
    assert folder(runs, name, **given) == "output/evaluation"
    assert folder(runs, name, image_size=64, **given) == "output/evaluation-2"


def test_one_that_was_stopped_is_made_again_and_a_strangers_is_not_replaced(runs: Path) -> None:
    (runs / "output/evaluation").mkdir()
    (runs / "output/evaluation/scores.csv").write_text("")
    assert folder(runs, "output/models/model.pt") == "output/evaluation"
    (runs / "output/evaluation/summary.json").write_text("[]")
    assert folder(runs, "output/models/model.pt") == "output/evaluation-2"


def test_an_entry_inside_a_component_makes_another_evaluation(runs: Path) -> None:
    checkpoint = "output/models/model.pt"
    inferer: dict[str, Any] = {"inferer#amp": True}
    assert evaluated(runs, checkpoint) == "output/evaluation"
    assert evaluated(runs, checkpoint, **inferer) == "output/evaluation-2"
    assert folder(runs, checkpoint, **inferer) == "output/evaluation-2"
    assert folder(runs, checkpoint) == "output/evaluation"
    assert folder(runs, checkpoint, **{"inferer#amp": False}) == "output/evaluation-3"


def test_peers_are_compared_by_their_contents(
    runs: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = tmp_path_factory.mktemp("peers")
    (peers / "t1c.pt").write_bytes(b"peer")
    monkeypatch.chdir(peers)
    name, whole = "output/models/model.pt", str(peers / "t1c.pt")
    unimodal = {"bundle": "brats_unimodal_kd"}
    assert evaluated(runs, name, **unimodal) == "output/evaluation"
    assert evaluated(runs, name, peer_checkpoint=whole, **unimodal) == "output/evaluation-2"
    assert folder(runs, name, peer_checkpoint="t1c.pt", **unimodal) == "output/evaluation-2"
    assert folder(runs, name, **unimodal) == "output/evaluation"
    (peers / "t1c.pt").write_bytes(b"trained anew")
    assert folder(runs, name, peer_checkpoint=whole, **unimodal) == "output/evaluation-3"
    # one from before the contents were noted
    summary = runs / "output/evaluation-2/summary.json"
    record = json.loads(summary.read_text())
    del record["settings"]["peer_sha256"]
    summary.write_text(json.dumps(record))
    assert folder(runs, name, peer_checkpoint=whole, **unimodal) == "output/evaluation-2"


def test_a_folder_given_on_the_command_line_is_not_one_of_another_evaluation(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = runs / evaluated(runs, "output/models/model.pt", threshold=0.4)

    def begin(checkpoint: str, **settings: Any) -> None:
        evaluation(runs, checkpoint, evaluation_dir=str(place), **settings)

    def refused(checkpoint: str, **settings: Any) -> str:
        with pytest.raises(Exception) as raised:
            begin(checkpoint, **settings)
        cause = root_cause(raised.value)
        assert isinstance(cause, RefusedStart), cause
        return str(cause)

    other = {"output-2/models/model.pt": {"threshold": 0.4}, "output/models/model.pt": {"threshold": 0.5}}
    # of a program, which keeps account of its folders
    begin("output/models/model.pt", threshold=0.5)
    with taken_from(["--config_file", "evaluate.json", "--evaluation_dir", str(place)]):
        begin("output/models/model.pt", threshold=0.4)
        for checkpoint, settings in other.items():
            assert "holds an evaluation with another checkpoint or other settings" in refused(checkpoint, **settings)
        (place / "summary.json").unlink()
        begin("output-2/models/model.pt")
        # as a classifier's evaluation has it, too
        (place / "predictions.png").write_bytes(b"")
        begin("output-2/models/model.pt")
        (place / "settings.json").write_text('{"settings": {"epochs": 1}}')
        assert "holds a training, which is not overwritten" in refused("output-2/models/model.pt")


def test_results_do_not_name_weights_that_a_training_put_in_place_of_theirs(runs: Path) -> None:
    name, file = "output/models/model.pt", runs / "output/models/model.pt"
    save_weights(file, {"weight": torch.zeros(1)})
    read_checkpoint(file)
    first = evaluation(runs, name).run()[0]["checkpoint_sha256"]
    assert first == sha256_of(file) == NetworkState(str(file), {}, None).checkpoint_sha256
    save_weights(file, {"weight": torch.ones(1)})
    told = "model.pt' was replaced after its weights had been read"
    with pytest.raises(RuntimeError) as error:
        evaluation(runs, name).run()
    assert isinstance(refusal := root_cause(error.value), RefusedStart) and told in str(refusal)
    with pytest.raises(RefusedStart, match=told):
        NetworkState(str(file), {}, None).checkpoint_sha256
    read_checkpoint(file)
    assert evaluation(runs, name).run()[0]["checkpoint_sha256"] == sha256_of(file) != first


def test_two_evaluations_at_a_time_do_not_share_a_folder(runs: Path) -> None:
    name, place = "output/models/model.pt", runs / "output/evaluation"
    given = ["--config_file", "evaluate.json", "--evaluation_dir", str(place)]
    with after(hold, place) as first:
        # its results are still to come, and nothing tells what they will be
        assert folder(runs, name) == "output/evaluation-2"
        with taken_from(given), pytest.raises(RuntimeError) as error:
            evaluation(runs, name, evaluation_dir=str(place))
        assert isinstance(refusal := root_cause(error.value), RefusedStart)
        assert f"in use by another run (process {first.pid}" in str(refusal)
        assert str(refusal).endswith("wait until it ends, or give another evaluation_dir.")
    with taken_from(given):
        evaluation(runs, name, evaluation_dir=str(place))
    try:
        assert in_use(place) and folder(runs, name) == "output/evaluation"
    finally:
        release(place)
