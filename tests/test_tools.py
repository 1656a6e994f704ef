"""What the scripts of tools/ write and compare."""

from __future__ import annotations

import importlib
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from skimage.io import imsave

from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.json_files import read_json
from ckdmed.sections.slices import figshare_sections


def tool(name: str) -> ModuleType:
    spec = spec_from_file_location(name, Path(__file__).resolve().parents[1] / "tools" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_package_of_use_to_others_has_a_page_of_the_site() -> None:
    pytest.importorskip("mkdocs")
    of_commands = {"cli", "run_pages"}
    packages = {
        path.parent.name
        for path in (Path(__file__).resolve().parents[1] / "ckdmed").glob("*/__init__.py")
        if "__all__ = " in path.read_text(encoding="utf-8")
    }
    assert set(tool("site_pages").PACKAGES) == packages - of_commands


def test_a_page_of_the_api_has_all_that_its_package_offers() -> None:
    pytest.importorskip("mkdocs")
    site = tool("site_pages")
    for package in site.PACKAGES:
        blocks = re.findall(r"^::: (\S+)$", site._api(package), flags=re.MULTILINE)
        offered = importlib.import_module(f"ckdmed.{package}").__all__
        assert sorted(block.rpartition(".")[2] for block in blocks) == sorted(offered), package
        assert all(block.startswith("ckdmed.") for block in blocks)


def test_a_page_of_the_api_has_no_marks_of_restructuredtext() -> None:
    pytest.importorskip("mkdocs")
    content = tool("site_pages").on_page_content
    assert content("<p>Example::</p><pre>a::b</pre>") == "<p>Example:</p><pre>a::b</pre>"
    assert content("<p>See :class:<code>Taps</code>.</p>") == "<p>See <code>Taps</code>.</p>"


def test_examples_stand_under_the_heading_that_the_site_reads() -> None:
    # mkdocstrings knows a section "Examples"; of "Example" it makes quotations and links
    package = Path(__file__).resolve().parents[1] / "ckdmed"
    wrong = [path.name for path in package.rglob("*.py") if re.search(r"^ +Example:$", path.read_text("utf-8"), re.M)]
    assert not wrong


@pytest.mark.parametrize("source", ["group", "official"])
def test_a_shipped_record_has_the_patients_of_its_run(tmp_path: Path, source: str) -> None:
    data = write_figshare_phantoms(tmp_path / "data", 15, (2, 3), 32, progress=False).parent
    sections = figshare_sections(str(data), "", fold=0, n_folds=5, fold_source=source)
    found = tool("ship_checkpoint")._split(data, {"split_seed": 0, "fold": 0, "n_folds": 5, "fold_source": source})
    for name in ("train", "validation", "test"):
        assert found["patient_groups"][name] == sorted({item["patient_group"] for item in sections[name]})


@pytest.mark.parametrize("option", ["--run", "--checkpoint", "--dataset_dir", "--difference"])
def test_weights_without_their_evaluation_are_refused(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were not shipped, and the page was written anew from the record of those before."""
    ship = tool("ship_checkpoint")
    monkeypatch.setattr(ship, "document", lambda *_: None)
    bundle = Path(__file__).resolve().parents[1] / "bundles/seg_kd"
    monkeypatch.setattr(sys, "argv", ["ship_checkpoint.py", "--bundle", str(bundle), option, "somewhere"])
    with pytest.raises(SystemExit):
        ship.main()
    assert f"error: {option} ships weights, and with them goes their --evaluation" in capsys.readouterr().err


def test_further_weights_without_a_place_on_the_page_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ship = tool("ship_checkpoint")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/README.md").write_text("<!-- figures: written by the exporter -->\n<!-- end of figures -->\n")
    words = ["--bundle", str(tmp_path), "--name", "other", "--checkpoint", "w.pt", "--evaluation", "summary.json"]
    monkeypatch.setattr(sys, "argv", ["ship_checkpoint.py", *words])
    with pytest.raises(SystemExit):
        ship.main()
    assert "--name other: docs/README.md" in capsys.readouterr().err and not (tmp_path / "models").exists()


def test_what_an_inference_takes_from_the_record_is_shipped_as_it_was_evaluated() -> None:
    at_inference, bundles = tool("ship_checkpoint")._at_inference, Path(__file__).resolve().parents[1] / "bundles"
    evaluated = {"image_size": 128, "threshold": 0.4, "tta": False, "epochs": 3}
    assert at_inference(bundles / "seg_kd", evaluated) == {"image_size": 128, "threshold": 0.4, "tta": False}
    # every bundle of masks reads them from the record
    assert at_inference(bundles / "seg_teacher", evaluated) == {"image_size": 128, "threshold": 0.4, "tta": False}


def test_a_shipped_record_names_no_folder_and_its_page_no_channels() -> None:
    ship = tool("ship_checkpoint")
    channels = 'student_options={"pruned_channels": {"a/b": 3}}'
    command = ["ckdmed", "--output_dir", "/data/run", "--set", "student_pretrained=~/small/model.pt", channels]
    command += ['teacher_options={"weights": "/data/lite.pth"}', "student_kind=efficientnet_lite", "epochs=2"]
    kept = ship._without_paths({"command": command, "of": [3, None, "./here/there"]})
    assert kept["command"][2] == "run" and kept["command"][4] == "student_pretrained=model.pt"
    assert (
        kept["command"][5:7] == [channels, 'teacher_options={"weights": "lite.pth"}']
        and kept["of"][2] == "./here/there"
    )
    shown = ship._command_of_today(kept["command"])
    assert shown == [*kept["command"][:5], kept["command"][6], "epochs=2"]
    # without weights to start from nothing else tells the network
    assert ship._command_of_today(["ckdmed", channels]) == ["ckdmed", channels]


def test_a_pruned_network_is_a_step_of_what_ships(tmp_path: Path) -> None:
    record_of = tool("ship_checkpoint")._record_of
    (tmp_path / "model.json").write_text("{}")
    assert record_of(tmp_path).name == "model.json" and record_of(tmp_path / "none").name == "settings.json"
    (tmp_path / "settings.json").write_text("{}")
    assert record_of(tmp_path).name == "settings.json"
    runs_of = tool("ship_checkpoint")._runs_of
    (tmp_path / "settings.json").write_text('{"command": ["one"]}')
    assert runs_of(tmp_path) == [{"command": ["one"]}]
    (tmp_path / "settings.json").write_text('{"sha256": "0", "runs": [{"command": ["one"]}, {"command": ["two"]}]}')
    assert [run["command"] for run in runs_of(tmp_path)] == [["one"], ["two"]]


def test_masks_of_slices_are_compared_between_commits(tmp_path: Path) -> None:
    compare, results = tool("compare_commits"), []
    for value in (0, 255):
        folder = tmp_path / str(value)
        (folder / "inference").mkdir(parents=True)
        torch.save({"weight": torch.zeros(1)}, folder / "model.pt")
        (folder / "metrics.jsonl").write_text('{"epoch": 1}\n')
        imsave(folder / "inference/1_mask.png", np.full((8, 8), value, np.uint8), check_contrast=False)
        results.append(compare._read(folder))
    assert compare._differences(*results) == ["inference/1_mask.png"]


def _evaluated(folder: Path, point: str, rows: list[str]) -> None:
    path = folder / "evaluations" / "test" / f"student-{point}" / "probabilities.csv"
    path.parent.mkdir(parents=True)
    head = "id,patient,patient_group,label,probability_meningioma,probability_glioma"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")


def test_a_classifier_is_scored_without_the_patients_whose_code_gives_them_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # of the others a meningioma of two is found, and the glioma; under the gamma nothing but gliomas are
    clean = [["1,MR1,MR1,1,0.1,0.9", "2,100,100,0,0.8,0.2"], ["3,200,200,0,0.3,0.7", "4,300,300,1,0.4,0.6"]]
    for number, rows in enumerate(clean):
        _evaluated(tmp_path / str(number), "clean", rows)
        _evaluated(tmp_path / str(number), "darker-2", [row.rsplit(",", 2)[0] + ",0.2,0.8" for row in rows])
    short_cuts, record = tool("short_cuts"), tmp_path / "record.json"
    given = ["short_cuts", str(tmp_path / "0"), str(tmp_path / "1")]
    monkeypatch.setattr("sys.argv", [*given, "--record", str(record)])
    assert short_cuts.main() == 0
    points = read_json(record)["points"]
    assert points["clean"]["all"]["accuracy"] == 0.75 and points["clean"]["all"]["patients"] == 4
    assert points["clean"]["others"]["accuracy"] == pytest.approx(2 / 3)
    assert points["clean"]["others"]["balanced_accuracy"] == 0.75 and points["clean"]["others"]["slices"] == 3
    assert points["darker-2"]["others"]["balanced_accuracy"] == 0.5
    scores = "accuracy {}, balanced_accuracy {}, macro_auc {}, glioma_recall {}"
    assert capsys.readouterr().out.splitlines()[:3] == [
        "clean, all: 4 patients, 4 slices: " + scores.format("0.7500", "0.7500", "0.7500", "1.0000"),
        "clean, others: 3 patients, 3 slices: " + scores.format("0.6667", "0.7500", "0.5000", "1.0000"),
        "clean, given away: 1 patient, 1 slice: accuracy 1.0000, balanced_accuracy 1.0000, glioma_recall 1.0000",
    ]
    monkeypatch.setattr("sys.argv", [*given, str(tmp_path / "1")])
    with pytest.raises(SystemExit):
        short_cuts.main()
    assert "slice 3 was scored by another of these folders too" in capsys.readouterr().err
