from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from ignite.engine import Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ckdmed.bundle.errors import root_cause
from ckdmed.engines import FrozenTeacher, weights_hash
from ckdmed.experiments.teacher_settings import settings_of_teacher
from ckdmed.networks import EfficientNetLiteUNet, UNet, segmentation_student
from tests.bundle.broken_off import break_off
from tests.bundle.bundle_runs import completed, opened
from tests.bundle.seg_kd_runs import BUNDLE, TINY, command, environment, run, workflow

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The command itself, from inside the bundle's folder; its output folder and what it printed."""
    folder = tmp_path_factory.mktemp("run") / "out"
    done = subprocess.run(
        command(folder),
        cwd=BUNDLE,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout + done.stderr


def test_checkpoint_loads_strictly_into_the_plain_network(finished: tuple[Path, str]):
    state = torch.load(finished[0] / "models" / "model.pt", weights_only=True)
    network = UNet(features=[2, 4, 8, 16, 32])
    network.load_state_dict(state, strict=True)
    assert torch.isfinite(network.eval()(torch.rand(1, 1, 32, 32))).all()


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ("efficientnet_lite", "unet_vit"),
        ("unet", "efficientnet_lite"),
        # Qi et al. 2022
        ("unet_plus_plus", "attention_unet"),
        ("residual_unet", "vgg_vit"),
        ("flexible_unet", "unet_plus_plus"),
    ],
)
@pytest.mark.slow
def test_other_kinds_of_student_and_teacher(student: str, teacher: str, tmp_path: Path):
    sizes = {"image_size": 64, "vit_img_size": 64, "batch_size": 12}
    made = run(tmp_path / "out", student_kind=student, teacher_kind=teacher, **sizes)
    row = json.loads((tmp_path / "out" / "metrics.jsonl").read_text(encoding="utf-8"))
    assert {"soft_targets", "features", "attention", "edges"} <= set(row["terms"])
    assert all(value > 0 for value in row["terms"].values())
    state = torch.load(tmp_path / "out" / "models" / "model.pt", weights_only=True)
    segmentation_student(student, base=2).load_state_dict(state, strict=True)
    teacher_network = made.parser.get_parsed_content("teacher").network
    assert isinstance(teacher_network, EfficientNetLiteUNet) == (teacher == "efficientnet_lite")
    kept = torch.load(tmp_path / "out" / "teacher" / "teacher.pt", weights_only=True)
    # not changed by the student's training, running statistics included
    assert all(torch.equal(value, kept[name]) for name, value in teacher_network.state_dict().items())


def test_a_student_begins_with_a_file_of_weights(tmp_path: Path):
    torch.manual_seed(7)
    source = EfficientNetLiteUNet(backbone="efficientnet-lite2")
    torch.save(source.encoder.state_dict(), tmp_path / "lite2.pth")
    settings = {
        "student_kind": "efficientnet_lite",
        "student_backbone": "efficientnet-lite2",
        "student_encoder_pretrained": str(tmp_path / "lite2.pth"),
    }
    network = workflow(tmp_path / "out", **settings).parser.get_parsed_content("network_def")
    for name, value in source.encoder.state_dict().items():
        assert torch.equal(network.encoder.state_dict()[name], value), name


@pytest.mark.slow
def test_a_final_training_keeps_its_last_weights(tmp_path: Path):
    settings = {"method": "supervised", "epochs": 2, "learning_rate": 0.01}
    made = run(tmp_path / "out", train_on_validation=True, **settings)
    kept = made.parser.get_parsed_content("best_model")
    # here the last epoch may well be the best too, so what was asked for is looked at as well
    assert kept.last and kept.epoch == 2
    state = torch.load(tmp_path / "out" / "models" / "model.pt", weights_only=True)
    for name, value in made.parser.get_parsed_content("network_def").state_dict().items():
        assert torch.equal(value, state[name]), name
    groups = [{i["patient_group"] for i in items} for items in made.parser.get_parsed_content("sections").values()]
    assert groups[1] < groups[0] and not groups[2] & groups[0]


@pytest.mark.parametrize("both", [False, True])
def test_a_score_of_a_teacher_on_what_it_is_trained_on_says_so(both: bool, tmp_path: Path):
    parser = workflow(tmp_path / "out", train_on_validation=both).parser
    validated = {item["patient_group"] for item in parser.get_parsed_content("sections")["validation"]}
    learned = parser.get_parsed_content("train#handlers#0#teacher_learned")
    assert learned == (sorted(validated) if both else [])


def test_a_teacher_trains_on_the_validation_patients_too(tmp_path: Path):
    # under the name that the student's bundle has for it, which experiments hand on
    settings = settings_of_teacher("seg_teacher", {**TINY, "train_on_validation": True})
    made = completed(
        opened(
            "seg_teacher", **{**settings, "epochs": 2, "device": "$torch.device('cpu')", "output_dir": str(tmp_path)}
        )
    )
    get = made.parser.get_parsed_content
    groups = [{item["patient_group"] for item in items} for items in get("sections").values()]
    assert groups[1] < groups[0] and not groups[2] & groups[0]
    assert get("best_model").last and get("best_model").epoch == 2


def test_metrics_name_every_term(finished: tuple[Path, str]):
    (row,) = [json.loads(line) for line in (finished[0] / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert row["epoch"] == 1 and 0 <= row["metrics"]["val_mean_dice"] <= 1
    assert list(row["terms"])[:3] == ["supervised", "soft_targets", "soft_dice"]
    assert all(value > 0 for value in row["terms"].values())


def test_pictures_are_pictures(finished: tuple[Path, str]):
    for name in ("curves.png", "predictions.png"):
        picture = plt.imread(finished[0] / name)
        assert min(picture.shape[:2]) > 100 and picture[..., :3].std() > 0


def test_tensorboard_has_terms_and_metric(finished: tuple[Path, str]):
    events = EventAccumulator(str(finished[0] / "tensorboard"))
    events.Reload()
    scalars = {"epoch/loss", "epoch/learning_rate", "step/loss", "validation/val_mean_dice"}
    assert scalars | {"term/supervised", "weight/supervised"} <= set(events.Tags()["scalars"])
    assert {f"teacher/{name}" for name in scalars} <= set(events.Tags()["scalars"])


def test_tensorboard_has_the_sheet_of_predictions(finished: tuple[Path, str]):
    events = EventAccumulator(str(finished[0] / "tensorboard"))
    events.Reload()
    (image,) = events.Images("predictions")
    sheet = plt.imread(finished[0] / "predictions.png")
    assert image.step == 1 and (image.height, image.width) == sheet.shape[:2]


def test_settings_are_on_record(finished: tuple[Path, str]):
    record = json.loads((finished[0] / "settings.json").read_text(encoding="utf-8"))
    settings = record["settings"]
    assert (settings["epochs"], settings["student_base"], settings["batch_size"]) == (1, 2, 8)
    assert settings["output_dir"] == str(finished[0]) and settings["method"] == "ckd"
    assert "--epochs" in record["command"]
    # as it was typed
    assert record["command"][1:4] == ["-m", "monai.bundle", "run"] and "/" not in record["command"][0]


def test_last_line_says_where_everything_is(finished: tuple[Path, str]):
    folder, printed = finished
    lines = [line for line in printed.splitlines() if " INFO " in line]
    assert re.search(rf"done: best val_mean_dice \d\.\d+ in epoch 1\. Everything is in {folder}$", lines[-1])
    for said in (
        "models/model.pt: ",
        "curves.png: ",
        "predictions.png: ",
        "TeacherCheck: the teacher's",
        "terms at step 1",
    ):
        assert said in printed


def test_the_folder_of_the_bundle_stays_clean(finished: tuple[Path, str]):
    shipped = {BUNDLE / "models/model.pt", BUNDLE / "models/small.pt"}
    assert not [path for path in BUNDLE.rglob("*.pt") if path not in shipped and "output" not in path.parts]
    assert not [path for path in BUNDLE.rglob("*.mat") if "output" not in path.parts]


@pytest.mark.slow
def test_half_of_the_labels(tmp_path: Path):
    made = workflow(tmp_path, label_fraction=0.5, labelled_per_batch=None, batch_size=8, phantom_patients=15)
    seen: list[bool] = []
    trainer = made.trainer
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.extend(e.state.batch["labelled"].tolist()))
    made.run()
    train = made.parser.get_parsed_content("sections")["train"]
    assert 0 < sum(item["labelled"] for item in train) < len(train)
    assert len(seen) == len(train) and sum(seen) == sum(item["labelled"] for item in train)
    teacher_data = made.parser.get_parsed_content("teacher_dataset")
    assert len(teacher_data) == sum(seen) and all(item["labelled"] for item in teacher_data)


@pytest.mark.slow
def test_a_share_of_every_epoch_with_labels(tmp_path: Path):
    made = workflow(tmp_path, label_fraction=0.25, batch_size=8, phantom_patients=15)
    seen: list[bool] = []
    made.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: seen.extend(e.state.batch["labelled"].tolist())
    )
    made.run()
    train = made.parser.get_parsed_content("sections")["train"]
    assert len(seen) == len(train) and abs(2 * sum(seen) - len(seen)) <= 1
    assert sum(item["labelled"] for item in train) < sum(seen)


@pytest.mark.slow
def test_the_last_epoch_is_validated_whatever_the_interval(tmp_path: Path):
    made = workflow(tmp_path, method="supervised", epochs=3, val_interval=2)
    made.run()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["epoch"] for row in rows if "metrics" in row] == [2, 3]


@pytest.mark.parametrize("method", ["ckd", "supervised", "report_kd", "report_kdpp", "hard_pseudo"])
@pytest.mark.slow
def test_the_methods_of_the_reports(tmp_path: Path, method: str):
    made = workflow(tmp_path, method=method, scales=[None, 1, 2, 4] if method == "report_kd" else None)
    teacher: FrozenTeacher = made.parser.get_parsed_content("teacher")
    hashes: list[str] = []
    made.trainer.add_event_handler(Events.STARTED, lambda _: hashes.append(teacher.state_hash()))
    student = made.network_def
    before = weights_hash(student)
    made.run()
    made.finalize()
    assert weights_hash(student) != before and hashes == [teacher.state_hash()]
    (row,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert list(row["terms"])[0] == "supervised" and row["loss"] > 0
    # hard pseudo-labels are of unlabelled images, of which there are none here
    taught = method not in ("supervised", "hard_pseudo")
    assert (len(row["terms"]) > 1) == taught
    assert (tmp_path / "teacher" / "teacher.pt").exists() == taught


@pytest.mark.slow
def test_teacher_and_weights_from_the_command_line(tmp_path: Path):
    first = run(tmp_path / "first")
    checkpoint = tmp_path / "first" / "teacher" / "teacher.pt"
    second = run(tmp_path / "second", teacher_checkpoint=str(checkpoint), w_feat=0, w_att=0, temperature=3.0)
    assert not (tmp_path / "second" / "teacher").exists()
    hashes = [made.parser.get_parsed_content("teacher").state_hash() for made in (first, second)]
    assert hashes[0] == hashes[1]
    assert set(second.trainer.state.terms) == {"supervised", "soft_targets", "soft_dice", "edges"}
    assert second.parser.get_parsed_content("distillation_loss").terms["soft_targets"].loss.temperature == 3.0


def test_resumed_equals_unbroken(tmp_path: Path):
    settings = {"epochs": 3, "augmentation": "flips", "batch_size": 4}
    unbroken = run(tmp_path / "unbroken", **settings)
    broken = workflow(tmp_path / "broken", **settings)
    break_off(broken, Events.EPOCH_STARTED(once=3))
    resumed = run(tmp_path / "broken", **settings, resume=True)
    assert weights_hash(resumed.network_def) == weights_hash(unbroken.network_def)
    assert weights_hash(resumed.network_def) != weights_hash(broken.network_def)
    models = [torch.load(tmp_path / name / "models" / "model.pt", weights_only=True) for name in ("unbroken", "broken")]
    assert all(torch.equal(value, models[1][name]) for name, value in models[0].items())


@pytest.mark.slow
def test_resuming_with_another_teacher_is_refused(tmp_path: Path):
    run(tmp_path / "taught")
    given = tmp_path / "given.pt"
    (tmp_path / "taught" / "teacher" / "teacher.pt").rename(given)
    run(tmp_path / "out", teacher_checkpoint=str(given))
    # it may lie elsewhere, where nothing but the run's own checkpoint tells that it is another
    state = torch.load(given, weights_only=True)
    given.unlink()
    torch.save({name: value + 1 for name, value in state.items()}, tmp_path / "other.pt")
    with pytest.raises(RuntimeError) as raised:
        run(tmp_path / "out", resume=True, teacher_checkpoint=str(tmp_path / "other.pt"))
    assert re.search("its teacher does not match this run's .weights with SHA-256", str(root_cause(raised.value)))


@pytest.mark.slow
def test_original_files(tmp_path: Path, figshare_mat_dir: Path):
    files = sorted(figshare_mat_dir.glob("*.mat"), key=lambda p: int(p.stem) if p.stem.isdigit() else 0)
    few = tmp_path / "few"
    few.mkdir()
    # every sixth, so that all three kinds of tumour and several patients are among them
    for path in files[::6]:
        (few / path.name).symlink_to(path)
    made = run(tmp_path / "out", dataset_dir=str(few), student_base=2, batch_size=8)
    (row,) = [
        json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert 0 <= row["metrics"]["val_mean_dice"] <= 1
    assert not (tmp_path / "out" / "phantoms").exists()
    items = made.parser.get_parsed_content("sections")["train"]
    assert all(Path(item["image"]).parent == few for item in items)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"epoch": 1}, "'epoch' is not a setting of this bundle; did you mean 'epochs'?"),
        ({"dataset_dir": "/nowhere"}, "dataset_dir '/nowhere' is neither a folder nor a datalist"),
        ({"teacher_checkpoint": "/nowhere.pt"}, "there is no checkpoint '/nowhere.pt'"),
        ({"method": "mine"}, "method must be one of at, ckd, "),
        ({"image_size": 40}, "16"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, overrides: dict, message: str):
    with pytest.raises(Exception) as raised:
        run(tmp_path, **overrides)
    assert message in str(root_cause(raised.value))


def test_a_checkpoint_of_other_widths_is_named(tmp_path: Path):
    torch.save(UNet(features=[2, 4, 8, 16, 32]).state_dict(), tmp_path / "other.pt")
    with pytest.raises(RuntimeError) as raised:
        run(tmp_path / "out", teacher_checkpoint=str(tmp_path / "other.pt"))
    assert re.search(r"other\.pt' does not fit this UNetViT", str(root_cause(raised.value)))


def test_a_damaged_checkpoint_is_named(tmp_path: Path):
    (tmp_path / "empty.pt").touch()
    with pytest.raises(RuntimeError) as raised:
        run(tmp_path / "out", teacher_checkpoint=str(tmp_path / "empty.pt"))
    assert re.search(r"empty\.pt' cannot be read as a checkpoint", str(root_cause(raised.value)))
