"""Networks start from the seed, whatever was drawn before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from ignite.engine import Events

from ckdmed.bundle.errors import root_cause
from ckdmed.engines import weights_hash
from ckdmed.networks import EfficientNetLiteUNet, segmentation_student
from tests.bundle.broken_off import break_off
from tests.bundle.bundle_runs import BUNDLES, completed, history
from tests.bundle.seg_kd_runs import workflow


@pytest.mark.parametrize("bundle", sorted(path.parent.name for path in BUNDLES.glob("*/train.json")))
def test_nothing_is_made_before_the_seed_is_set(bundle: str):
    first, second = json.loads((BUNDLES / bundle / "train.json").read_text(encoding="utf-8"))["initialize"][:2]
    assert first == "$ckdmed.bundle.check_settings()"
    assert second.startswith("$ckdmed.bundle.start_process(@device, @seed")


@pytest.mark.bundle
def test_the_same_seed_gives_the_same_networks(tmp_path: Path):
    found = []
    for number, drawn in enumerate((1, 2)):
        torch.manual_seed(drawn)
        made = workflow(tmp_path / str(number))
        found.append([weights_hash(made.parser.get_parsed_content(name)) for name in ("network_def", "teacher_def")])
    assert found[0] == found[1]


@pytest.mark.parametrize("bundle", sorted(path.parent.name for path in BUNDLES.glob("*/train.json")))
def test_a_training_looks_whom_its_first_weights_know(bundle: str):
    config = json.loads((BUNDLES / bundle / "train.json").read_text(encoding="utf-8"))
    start = config["begun_dir"]
    assert start["_target_"].endswith(".start_training")
    named = json.dumps([start.get("made_from"), start["parts"]])
    first = [name for name in config if name.endswith("_pretrained")]
    assert first and all(f"@{name}" in named for name in first)
    assert "teacher_bundle" not in config or "@teacher_bundle" in named


@pytest.mark.parametrize("bundle", sorted(path.parent.name for path in BUNDLES.glob("*/train.json")))
def test_a_file_of_first_weights_is_that_of_a_new_run(bundle: str):
    """Of a teacher beside a student the files are needed until it is trained itself."""
    config = (BUNDLES / bundle / "train.json").read_text(encoding="utf-8")
    student = "student_pretrained" in json.loads(config)
    first = [name for name in json.loads(config) if name.endswith("_pretrained")]
    own = [name for name in first if not student or name.startswith("student_")]
    assert own and all(f"ckdmed.bundle.first_weights(@{name})" in config for name in own)


@pytest.mark.bundle
@pytest.mark.usefixtures("process_as_it_was")
@pytest.mark.parametrize(
    "name", ["student_pretrained", pytest.param("student_encoder_pretrained", marks=pytest.mark.slow)]
)
def test_a_run_is_resumed_without_the_file_that_it_started_from(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = tmp_path / "before/model.pt"
    start.parent.mkdir()
    settings = {"method": "supervised", "epochs": 2, name: str(start)}
    if name == "student_pretrained":
        torch.save(segmentation_student("segresnet", base=2).state_dict(), start)
        # a kind that the record of the weights alone tells
        (tmp_path / "before/model.json").write_text('{"settings": {"student_kind": "segresnet", "student_base": 2}}')
    else:
        torch.save(EfficientNetLiteUNet().encoder.state_dict(), start)
        settings |= {"student_kind": "efficientnet_lite"}
    break_off(workflow(tmp_path / "run", **settings), Events.EPOCH_STARTED(once=2))
    for file in start.parent.iterdir():
        file.unlink()
    (saved,) = (tmp_path / "run/models").glob("resume_epoch=*.pt")

    # what cannot be read is no state to go on from, and without one the file is needed
    whole = saved.read_bytes()
    saved.write_bytes(whole[:100])
    with pytest.raises(Exception) as refused:
        workflow(tmp_path / "run", resume=True, **settings)
    assert str(start) in str(root_cause(refused.value))

    saved.write_bytes(whole)
    caplog.clear()
    completed(workflow(tmp_path / "run", resume=True, **settings))
    assert f"{start}, which the network started from, no longer exists" in caplog.text
    assert "whether it was trained on test patients is unknown" not in caplog.text
    assert [row["epoch"] for row in history(tmp_path / "run") if "metrics" in row] == [1, 2]
