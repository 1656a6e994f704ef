"""Cases scored by region: numbers worked by hand, both kinds of score, and what is written."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from skimage.io import imread

from ckdmed.handlers import RegionEvaluation

LPS = torch.diag(torch.tensor([-1.0, -1, 1, 1], dtype=torch.float64))
SHAPE = (24, 22, 20)


def volume(*boxes: tuple[slice, slice, slice]) -> np.ndarray:
    mask = np.zeros(SHAPE, np.float32)
    for box in boxes:
        mask[box] = 1
    return mask


def box(x: int, y: int, z: int, size: int = 4) -> tuple[slice, slice, slice]:
    return slice(x, x + size), slice(y, y + size), slice(z, z + size)


def case(name: str, truth: list[np.ndarray], pred: list[np.ndarray], kind: str = "GLI", affine=LPS) -> tuple:
    image = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)
    item = {"id": name, "case": name, "patient": name, "patient_group": name[:2], "tumour_type": kind}
    parts = {"image": image, "label": np.stack(truth), "pred": np.stack(pred), "probability": 0.9 * np.stack(pred)}
    return item, {key: MetaTensor(torch.from_numpy(value), affine=affine) for key, value in parts.items()}


def evaluate(cases: list[tuple], out: Path, **settings) -> tuple[RegionEvaluation, list[dict]]:
    by_name = {item["id"]: output for item, output in cases}
    engine = Engine(lambda _, batch: [by_name[item["id"]] for item in batch])
    handler = RegionEvaluation(str(out), modalities=("t1n", "t1c", "t2w", "t2f"), **settings)
    handler.attach(engine)
    engine.run([[item] for item, _ in cases])
    with open(out / "scores.csv", newline="") as stream:
        return handler, list(csv.DictReader(stream))


def test_numbers_of_one_case(tmp_path):
    """WT: two lesions of 64 voxels, one found exactly, one missed; ET: shifted by one voxel; TC: nothing anywhere."""
    a, b = box(3, 3, 3), box(15, 14, 13)
    shifted = volume(box(4, 3, 3))
    _, rows = evaluate(
        [case("p1-0", [volume(), volume(a, b), volume(a)], [volume(), volume(a), shifted])], tmp_path / "out"
    )
    tc, wt, et = rows
    assert [row["region"] for row in rows] == ["TC", "WT", "ET"] and all(row["unit"] == "mm" for row in rows)
    assert float(tc["dice"]) == float(tc["lesionwise_dice"]) == 1 and tc["empty"] == "both" and tc["hd95"] == "0.0"
    # all voxels: 2 * 64 / (64 + 128); lesions: one of Dice 1, one of 0 mm and 374 mm
    assert float(wt["dice"]) == pytest.approx(2 / 3) and float(wt["lesionwise_dice"]) == pytest.approx(0.5)
    assert float(wt["lesionwise_hd95_mm"]) == pytest.approx(374 / 2) != pytest.approx(float(wt["hd95"]))
    assert [wt[name] for name in ("n_lesions", "n_found", "n_missed", "n_false")] == ["2", "1", "1", "0"]
    assert float(et["dice"]) == pytest.approx(0.75) and float(et["hd95"]) == pytest.approx(1)
    with open(tmp_path / "out" / "lesions.csv", newline="") as stream:
        lesions = list(csv.DictReader(stream))
    assert [(row["region"], float(row["volume_mm3"]), float(row["dice"])) for row in lesions] == [
        ("WT", 64.0, 1.0),
        ("WT", 64.0, 0.0),
        ("ET", 64.0, 0.75),
    ]


def test_distances_are_in_mm_of_the_labels_affine(tmp_path):
    affine = torch.tensor([[0, 0, 3.0, 0], [2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)
    truth, pred = volume(box(3, 3, 3)), volume(box(4, 3, 3))
    _, rows = evaluate([case("p1-0", [truth] * 3, [pred] * 3, affine=affine)], tmp_path)
    # the first axis has voxels of 2 mm
    assert [float(row["hd95"]) for row in rows] == [2.0] * 3
    assert float(rows[0]["lesionwise_dice"]) == pytest.approx(0.75)


def test_each_case_has_the_constants_of_its_challenge(tmp_path):
    """Boxes three voxels apart are one lesion for GLI (dilated by 3) and two for MET (by 1); 27 mm3 count for MET."""
    truth, pred = volume(box(3, 3, 3), box(10, 3, 3), box(18, 16, 14, 3)), volume(box(3, 3, 3))
    cases = [case(f"{kind}-0", [truth] * 3, [pred] * 3, kind) for kind in ("GLI", "MET")]
    handler, rows = evaluate(cases, tmp_path)
    counted = {row["class"]: (int(row["n_lesions"]), int(row["n_missed"]), int(row["n_ignored"])) for row in rows}
    assert counted == {"GLI": (1, 0, 1), "MET": (3, 2, 0)}
    per_class = handler.summary["per_region"]["WT"]["per_class"]
    assert per_class["MET"]["lesions"]["n_missed"] == 2 and per_class["GLI"]["lesions"]["n_missed"] == 0
    assert per_class["MET"]["scores"]["lesionwise_dice"]["patient_mean"] == pytest.approx(1 / 3)


def test_summary_means_files_and_table(tmp_path, caplog):
    a, moved, nothing = volume(box(3, 3, 3)), volume(box(5, 3, 3)), volume()
    cases = [
        case("p1-0", [a] * 3, [a] * 3),
        case("p1-1", [a] * 3, [moved] * 3),
        case("p2-0", [a] * 3, [nothing, a, a], "MET"),
    ]
    with caplog.at_level("INFO"):
        handler, rows = evaluate(cases, tmp_path, n_cases=1, settings={"section": "test"})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary == handler.summary and summary["settings"] == {"section": "test"}
    assert summary["patient_key"] == "patient_group" and (summary["n_slices"], summary["n_patients"]) == (3, 2)
    tc, wt = (summary["per_region"][region]["overall"]["dice"] for region in ("TC", "WT"))
    assert tc["patient_mean"] == pytest.approx((0.75 + 0) / 2) and tc["slice_mean"] == pytest.approx(0.5)
    assert wt["patient_mean"] == pytest.approx((0.75 + 1) / 2)
    low, high = wt["patient_interval"]
    assert low == pytest.approx(0.75) and high == pytest.approx(1)
    # of a case: the mean of its regions
    assert summary["overall"]["dice"]["slice_mean"] == pytest.approx((1 + 0.5 + 2 / 3) / 3)
    assert summary["per_class"]["MET"]["scores"]["dice"]["patient_mean"] == pytest.approx(2 / 3)
    assert summary["per_region"]["TC"]["overall"]["hd95"]["n_penalised"] == 1
    assert [entry["id"] for entry in summary["best"] + summary["worst"]] == ["p1-0", "p1-1"]
    assert len(rows) == 9 and {path.name for path in tmp_path.iterdir()} == {
        "scores.csv",
        "lesions.csv",
        "patients.csv",
        "summary.json",
        "best_and_worst.png",
    }
    picture = imread(tmp_path / "best_and_worst.png")
    assert picture[..., :3].std() > 10
    text = next(record.getMessage() for record in caplog.records if record.name == "RegionEvaluation")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    head, table = lines[0], {line[0]: line for line in lines[2:]}
    assert table["WT"][head.index("Dice")] == "0.8750" and table["TC"][head.index("missed")] == "1"
    assert table["MET: TC"][head.index("lesion-wise HD95 [mm]")] == "374.00"
    assert "TC: 0 cases without it where some was found, 1 with it where none was found" in text


def test_the_picture_shows_the_slice_with_most_tumour(tmp_path):
    """A volume whose array runs against the view: the outline's slice is turned as the image is."""
    truth = volume(box(3, 3, 3), box(3, 3, 7, 3))
    item, output = case("p1-0", [truth] * 3, [volume()] * 3, affine=torch.eye(4, dtype=torch.float64))
    handler = RegionEvaluation(str(tmp_path), modalities=("t1n", "t1c", "t2w", "t2f"))
    picture = handler._picture(output["image"], np.zeros((3, *SHAPE), bool), np.stack([truth] * 3) > 0, np.eye(4))
    assert 3 <= picture.number <= 6 and picture.truth[0].sum() == 16
    # RAS: rows run from front to back, columns from right to left
    expected = truth[:, :, picture.number].T[::-1, ::-1] > 0
    assert np.array_equal(picture.truth[1], expected)
    image = output["image"].numpy()
    for column, channel in enumerate((1, 3, 1)):  # TC on T1c, WT on T2-FLAIR, ET on T1c
        assert np.array_equal(picture.images[column], image[channel, :, :, picture.number].T[::-1, ::-1])


def test_the_background_of_the_picture_is_dark():
    """Outside of the brain z-scores are 0, which is the brain's mean."""
    truth = volume(box(3, 3, 3))
    image = np.zeros((4, *SHAPE), np.float32)
    image[:, 2:20, 2:20] = np.random.default_rng(0).normal(size=(4, 18, 18, SHAPE[2]))
    handler = RegionEvaluation("unused", modalities=("t1n", "t1c", "t2w", "t2f"))
    picture = handler._picture(image, np.zeros((3, *SHAPE), bool), np.stack([truth] * 3) > 0, np.asarray(LPS))
    assert (picture.images[:, 0, 0] == picture.images.min(axis=(1, 2))).all() and picture.images.min() < -1


def test_what_cannot_be_scored(tmp_path):
    mask = [volume(box(3, 3, 3))] * 3
    with pytest.raises(ValueError, match="p1-0: the tumour type 'XYZ' has no challenge"):
        evaluate([case("p1-0", mask, mask, "XYZ")], tmp_path)
    with pytest.raises(ValueError, match=r"p1-0: a prediction of 3 regions .* got shape \(2, 24"):
        evaluate([case("p1-0", mask[:2], mask[:2])], tmp_path)
    with pytest.raises(ValueError, match="p1-0: the prediction has shape"):
        evaluate([case("p1-0", mask, mask[:2])], tmp_path)
    assert list(tmp_path.iterdir()) == []


def _one_of_two(rank: int, port: int, out: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    torch.distributed.init_process_group("gloo")
    a, moved = volume(box(3, 3, 3)), volume(box(5, 3, 3))
    cases = [case(f"p{n}-0", [a] * 3, [moved if n == 2 else a] * 3) for n in range(3)]
    # three cases on two processes: the sampler repeats the first
    own = [cases[n] for n in ((0, 2), (1, 0))[rank]]
    engine = Engine(lambda _, batch: [dict((i["id"], o) for i, o in cases)[batch[0]["id"]]])
    handler = RegionEvaluation(str(out))
    handler.attach(engine)
    engine.run([[item] for item, _ in own])
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_write_one_report(tmp_path):
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=_one_of_two, args=(rank, 29631, tmp_path)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    assert [process.exitcode for process in ranks] == [0, 0]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["n_slices"] == 3
    assert summary["calibration"]["of"]["WT"]["pixels"] > 0
    assert summary["overall"]["dice"]["slice_mean"] == pytest.approx((1 + 1 + 0.5) / 3)
    with open(tmp_path / "scores.csv", newline="") as stream:
        assert [row["id"] for row in csv.DictReader(stream)] == [f"p{n}-0" for n in (0, 0, 0, 1, 1, 1, 2, 2, 2)]
    with open(tmp_path / "lesions.csv", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 9
