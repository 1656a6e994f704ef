from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ckdmed.bundle import (
    SectionOverlapError,
    brats_sections,
    figshare_sections,
    learned_of_validation,
    record_sections,
    scored_items,
)
from ckdmed.cli import main
from ckdmed.data.phantoms import write_brats_phantoms, write_figshare_phantoms
from ckdmed.sections.record import RECORD_NAME, SectionRecord, find_own_or_shipped, find_record


def item(name: str, patient: str, group: str = "") -> dict[str, Any]:
    return {"id": name, "patient": patient, "patient_group": group or patient, "labelled": True}


def dealt(**parts: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {"train": [], "validation": [], "test": [], **parts}


SECTIONS = dealt(train=[item("1", "A"), item("2", "A")], validation=[item("3", "B")], test=[item("4", "C", "CC")])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    record_sections(SECTIONS, str(tmp_path / "run"), str(tmp_path / "run/models"))
    (tmp_path / "run/settings.json").write_text("{}")
    return tmp_path / "run"


def ids(sections: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    return {name: [entry["id"] for entry in part] for name, part in sections.items()}


def test_later_arrivals_change_no_section(run: Path, caplog: pytest.LogCaptureFixture):
    record = find_record(run / "models/model.pt")
    assert record is not None
    today = [*(entry for part in SECTIONS.values() for entry in part), item("5", "D"), item("6", "C", "CC")]
    found = record.assign(today)
    assert ids(found) == {"train": ["1", "2"], "validation": ["3"], "test": ["4"], "new": ["5"]}
    assert "1 patient in none of the training's sections" in caplog.text and "'D'" in caplog.text
    assert "left out 1 item of 1 known patient, added after the training or used by the networks" in caplog.text
    assert "learned from: 'CC'" in caplog.text


def test_a_network_that_is_scored_along_knows_none_of_the_patients(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    peer = tmp_path / "peer/models/teachers/t1c.pt"
    # the one test patient of the student trained it
    learned = dealt(train=[item("4", "C", "CC")], validation=[item("3", "B")], test=[item("1", "A")])
    record_sections(learned, str(tmp_path / "peer"), str(peer.parents[1]))
    (tmp_path / "peer/settings.json").write_text("{}")
    message = "t1c.pt was trained or chosen on 1 of the section test .'CC'; see .*, so it cannot be scored on them"
    with pytest.raises(SectionOverlapError, match=message):
        scored_items(SECTIONS, "test", beside=str(peer))
    assert scored_items(SECTIONS, "validation", beside=str(peer)) and scored_items(SECTIONS, "test")
    new = dealt(new=[item("5", "D"), item("6", "B")])
    with pytest.raises(SectionOverlapError, match="on 1 of the section new .'B'"):
        scored_items(new, "new", beside=str(peer))
    assert not caplog.records
    assert scored_items(SECTIONS, "test", beside=str(tmp_path / "else/t1c.pt"))
    assert "whether it was trained on those that are scored is unknown" in caplog.text


def test_what_is_missing_is_named(run: Path, caplog: pytest.LogCaptureFixture):
    found = SectionRecord.read(run / RECORD_NAME).assign([item("4", "C", "CC")])
    assert ids(found)["test"] == ["4"]
    assert "missing 1 recorded validation item: '3'" in caplog.text


def test_one_person_of_two_sections_is_refused(run: Path):
    # "A" trained and "C" is a test patient; today's data say that they are one person
    today = [item("1", "A", "CC"), item("4", "C", "CC")]
    with pytest.raises(SectionOverlapError, match="'CC' is in train and test"):
        SectionRecord.read(run / RECORD_NAME).assign(today)


@pytest.mark.parametrize("patient, section", [("A", "who was in train"), ("Z", "who was in none")])
def test_a_test_item_of_another_patient_is_refused(run: Path, patient: str, section: str):
    with pytest.raises(SectionOverlapError, match=f"'4' was in the section test .*'{patient}', {section}"):
        SectionRecord.read(run / RECORD_NAME).assign([item("4", patient)])


def test_a_resumed_run_keeps_its_patients(run: Path):
    again = (str(run), str(run / "models"))
    before = (run / RECORD_NAME).read_bytes()
    record_sections(SECTIONS, *again, resume=True)
    moved = dealt(train=[item("1", "A"), item("3", "B")], validation=[item("2", "E")], test=[item("4", "C", "CC")])
    with pytest.raises(
        SectionOverlapError, match="1 patient would change sections .*'B' was in validation and would be in train"
    ):
        record_sections(moved, *again, resume=True)
    with pytest.raises(SectionOverlapError, match="1 new patient .'E'"):
        record_sections(moved, *again, resume=True)
    fewer = {**SECTIONS, "train": [item("1", "A")]}
    with pytest.raises(SectionOverlapError, match="the items of its patients differ"):
        record_sections(fewer, *again, resume=True)
    assert (run / RECORD_NAME).read_bytes() == before


def test_a_teacher_that_knows_test_patients_is_refused(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    other = dealt(train=[item("4", "C", "CC")], validation=[item("3", "B")], test=[item("1", "A")])
    to = (str(tmp_path / "student"), str(tmp_path / "student/models"))
    with pytest.raises(SectionOverlapError, match="trained or chosen on 1 of this run's test patients .'A'"):
        record_sections(other, *to, made_from=[None, str(run / "models/teacher.pt")])
    assert not (tmp_path / "student").exists()
    (tmp_path / "lone.pt").write_bytes(b"")
    record_sections(other, *to, made_from=[str(tmp_path / "lone.pt")])
    assert "lone.pt has no record of its patients" in caplog.text


def test_validation_patients_that_a_checkpoint_learned_are_warned_of(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Nothing else tells that the best epoch is chosen on patients whom the first weights know."""
    first = str(run / "models/model.pt")
    learned = dealt(train=[item("3", "B")], validation=[item("1", "A"), item("5", "E")], test=[item("4", "C", "CC")])
    assert learned_of_validation(learned, first) == ["A"]
    # one that was chosen on the same patients has not learned them
    assert learned_of_validation(SECTIONS, first, None) == []
    folders = (str(tmp_path / "further"), str(tmp_path / "further/models"))
    record_sections(SECTIONS, *folders, made_from=[first])
    assert not caplog.records
    record_sections(learned, *folders, made_from=[None, first])
    (warning,) = caplog.messages
    assert "model.pt was trained on 1 validation patient of this run ('A'): their scores are too high" in warning
    assert "or set train_on_validation to true" in warning
    caplog.clear()
    both = {**learned, "train": [*learned["train"], *learned["validation"]]}
    assert learned_of_validation(both, None) == ["A", "E"]
    record_sections(both, *folders, made_from=[first])
    assert not caplog.records


def test_a_part_of_a_network_knows_whom_its_record_tells_of(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """An encoder may be one that was trained here, as of a classifier; published weights know nobody."""
    encoder, published = run / "models/model.pt", tmp_path / "published.pth"
    for file in (encoder, published):
        file.write_bytes(b"")
    other = dealt(train=[item("4", "C", "CC")], validation=[item("3", "B")], test=[item("1", "A")])
    to = (str(tmp_path / "student"), str(tmp_path / "student/models"))
    record_sections(other, *to, parts=[None, "imagenet", str(published)])
    assert not caplog.records
    with pytest.raises(SectionOverlapError, match="model.pt was trained or chosen on 1 of this run's test patients"):
        record_sections(other, *to, parts=[str(published), str(encoder)])


def test_of_a_split_of_single_slices_the_learned_slices_count(tmp_path: Path):
    both_sides = dealt(train=[item("1", "A"), item("2", "B")], validation=[item("3", "A")], test=[item("4", "B")])
    record_sections(both_sides, str(tmp_path), str(tmp_path))
    first = str(tmp_path / "model.pt")
    assert learned_of_validation(both_sides, first, None) == []
    assert learned_of_validation({**both_sides, "validation": [item("1", "A"), item("2", "B")]}, first) == ["A", "B"]


def test_of_a_split_of_single_slices_no_test_slice_is_known_to_a_teacher(run: Path, tmp_path: Path):
    mixed = dealt(train=[item("1", "A")], validation=[item("3", "B")], test=[item("2", "A"), item("4", "C", "CC")])
    to = (str(tmp_path / "mixed"), str(tmp_path / "mixed/models"))
    teacher = str(run / "models/model.pt")
    # the teacher's split was by patient, and all slices of A trained it
    with pytest.raises(SectionOverlapError, match="chosen on 1 of this run's test slices .'2'; see"):
        record_sections(mixed, *to, made_from=[teacher])
    assert not (tmp_path / "mixed").exists()
    # one of the same split knows the patients and none of these slices
    record_sections(mixed, *to)
    record_sections(mixed, *2 * [str(tmp_path / "student")], made_from=[str(tmp_path / "mixed/models/model.pt")])
    # nor are slices of others called alike the same
    others = dealt(train=[item("1", "X")], validation=[item("3", "Y")], test=[item("2", "X"), item("4", "Z")])
    record_sections(others, *2 * [str(tmp_path / "others")], made_from=[teacher])


def test_patients_of_what_a_training_began_with_are_not_new_to_it(run: Path, tmp_path: Path):
    """A student that was trained further on other data knows those of its first training."""
    other = dealt(train=[item("5", "E"), item("1", "A")], validation=[item("6", "F")], test=[item("7", "G")])
    start = str(run / "models/model.pt")
    for folder, made_from in (("second", [start]), ("third", [None, str(tmp_path / "second/models/model.pt")])):
        record_sections(other, str(tmp_path / folder), str(tmp_path / folder / "models"), made_from=made_from)
        record = find_record(tmp_path / folder / "models/model.pt")
        assert record is not None
        # of its own patients the section tells already
        assert record.earlier == {"B": ["B"]}
        assert record.sections_of(["B"]) == ["train"] and record.sections_of(["E"]) == ["train"]
        today = [*(entry for part in other.values() for entry in part), item("3", "B"), item("8", "H")]
        found = ids(record.assign(today))
        assert found == {"train": ["5", "1"], "validation": ["6"], "test": ["7"], "new": ["8"]}
        assert ids(replace(record, by_item=True).assign(today)) == found
    # nor is a training on both scored on them
    later = dealt(train=[item("5", "E")], validation=[item("6", "F")], test=[item("3", "B")])
    with pytest.raises(SectionOverlapError, match="trained or chosen on 1 of this run's test patients .'B'"):
        record_sections(later, *2 * [str(tmp_path / "d")], made_from=[str(tmp_path / "third/models/model.pt")])


def test_a_resumed_run_keeps_whom_it_began_with(run: Path, tmp_path: Path):
    other = dealt(train=[item("5", "E")], validation=[item("6", "F")], test=[item("7", "G")])
    again = (str(tmp_path / "again"), str(tmp_path / "again/models"))
    record_sections(other, *again, made_from=[str(run / "models/model.pt")])
    before = (tmp_path / "again" / RECORD_NAME).read_bytes()
    # the same weights, moved away from the record of their patients
    record_sections(other, *again, resume=True, made_from=[str(tmp_path / "moved/teacher.pt")])
    for folder in again:
        assert (Path(folder) / RECORD_NAME).read_bytes() == before


def test_where_the_record_of_a_checkpoint_is_looked_for(run: Path, tmp_path: Path):
    for name in ("models/model.pt", "teacher/teacher.pt", "teachers/t1c/teacher.pt"):
        found = find_record(run / name)
        assert found is not None and found.patients["test"] == {"CC": ["C"]}
    assert find_record(tmp_path / "model.pt") is None
    # a folder above is looked at only where it is a run's
    (run / "settings.json").unlink()
    assert find_record(run / "teacher/teacher.pt") is None


@pytest.mark.parametrize("text", ["", "[]", '{"format": "another"}', '{"format": "ckdmed sections 1", "sections": 3}'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str):
    (tmp_path / RECORD_NAME).write_text(text)
    with pytest.raises(ValueError, match=f"{RECORD_NAME}: not a record of a training's sections"):
        find_record(tmp_path / "model.pt")


def test_slices_on_both_sides_are_told_apart_by_name(tmp_path: Path):
    mixed = dealt(train=[item("1", "A")], validation=[item("2", "B")], test=[item("3", "A")])
    record_sections(mixed, str(tmp_path), str(tmp_path))
    assert ids(SectionRecord.read(tmp_path / RECORD_NAME).assign([*mixed["test"], *mixed["train"]])) == {
        "train": ["1"],
        "validation": [],
        "test": ["3"],
        "new": [],
    }


def test_nothing_to_score_is_an_error():
    with pytest.raises(ValueError, match="no section 'new'.*no record"):
        scored_items(SECTIONS, "new")
    with pytest.raises(ValueError, match="'new' has nothing to score"):
        scored_items({**SECTIONS, "new": [{**item("1", "A"), "labelled": False}]}, "new")


def test_items_without_an_answer_are_not_scored(caplog: pytest.LogCaptureFixture):
    unlabelled = {**item("5", "D"), "labelled": False}
    assert scored_items({**SECTIONS, "train": [*SECTIONS["train"], unlabelled]}, "train") == SECTIONS["train"]
    assert "left out 1 of 3 in the section train, which have no label" in caplog.text


def test_a_section_that_was_trained_on_is_told(caplog: pytest.LogCaptureFixture):
    assert scored_items(SECTIONS, "validation") and scored_items(SECTIONS, "train") and not caplog.text
    scored_items({**SECTIONS, "train": [*SECTIONS["train"], *SECTIONS["validation"]]}, "validation")
    assert "the network was trained on 1 of 1 in the section validation (train_on_validation)" in caplog.text


@pytest.mark.parametrize("target, answered", [("label", ["1"]), ("class", ["1", "2"])])
def test_own_training_images_are_scored_by_answers_alone(tmp_path: Path, target: str, answered: list[str]):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "mask.png")
    entries: list[dict[str, Any]] = [
        {"label": "mask.png", "class": "a"},
        {"label": "mask.png", "pseudo_label": True, "class": "a"},
        {},
        {"label": "mask.png", "class": "a"},
        {"label": "mask.png", "class": "a"},
    ]
    for number, entry in enumerate(entries, start=1):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
        entry |= {"image": f"{number}.png", "id": str(number), "patient": f"P{number}"}
    names = {"training": entries[:3], "validation": entries[3:4], "test": entries[4:]}
    (tmp_path / "datalist.json").write_text(json.dumps(names))
    source = str(tmp_path / "datalist.json")
    trained = figshare_sections(source, "", target=target)
    assert [entry["id"] for entry in trained["train"] if entry["labelled"]] == ["1", "2"]
    without_record = figshare_sections(source, "", target=target, checkpoint=str(tmp_path / "run/models/model.pt"))
    record_sections(trained, str(tmp_path / "run"), str(tmp_path / "run/models"))
    recorded = figshare_sections(source, "", target=target, checkpoint=str(tmp_path / "run/models/model.pt"))
    for sections in (without_record, recorded):
        assert [entry["id"] for entry in scored_items(sections, "train")] == answered


def test_figshare_evaluation_scores_the_recorded_patients(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data, run = tmp_path / "data", tmp_path / "run"
    write_figshare_phantoms(data, n_patients=9, size=32, seed=0, progress=False)
    hidden = {path: path.rename(path.with_suffix(".later")) for path in sorted(data.glob("[0-9]*.mat"))[:4]}
    trained = figshare_sections(str(data), "")
    record_sections(trained, str(run), str(run / "models"))
    for path, away in hidden.items():
        away.rename(path)
    checkpoint = str(run / "models/model.pt")
    scored = figshare_sections(str(data), "", split_seed=1, checkpoint=checkpoint)
    assert {name: scored[name] for name in trained} == trained
    later = {entry["id"] for part in figshare_sections(str(data), "").values() for entry in part}
    used = {entry["id"] for part in trained.values() for entry in part}
    known = {entry["patient"] for part in trained.values() for entry in part}
    assert {entry["id"] for entry in scored["new"]} <= later - used
    assert not known & {entry["patient"] for entry in scored["new"]}
    drawn = figshare_sections(str(data), "", checkpoint=str(tmp_path / "lone.pt"))
    assert "new" not in drawn and "lone.pt has no record of the patients" in caplog.text


def test_brats_evaluation_scores_the_recorded_cases(tmp_path: Path):
    data, run = tmp_path / "data", tmp_path / "run"
    write_brats_phantoms(data, 7, (16, 16, 16), seed=0, progress=False)
    (data / "datalist.json").unlink(missing_ok=True)
    away = next(path for path in sorted(data.iterdir()) if path.is_dir()).rename(tmp_path / "away")
    trained = brats_sections(str(data))
    record_sections(trained, str(run), str(run / "models"))
    name = next(away.glob("*seg*")).name.split("-seg")[0]
    away.rename(data / name)
    scored = brats_sections(str(data), split_seed=5, checkpoint=str(run / "models/model.pt"))
    assert {section: scored[section] for section in trained} == trained
    assert [entry["case"] for entry in scored["new"]] == [name]
    content = json.loads((run / RECORD_NAME).read_text())
    assert content["sections"]["test"]["items"] == [entry["case"] for entry in trained["test"]]


def test_only_a_run_that_has_weights_can_lack_its_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, weights = str(tmp_path / "out"), tmp_path / "out/models"
    record_sections(SECTIONS, first, str(weights), resume=True)
    assert not caplog.records
    (tmp_path / "out/sections.json").unlink()
    (weights / "resume_epoch=3.pt").write_bytes(b"")
    record_sections(SECTIONS, first, str(weights), resume=True)
    assert "has no record of the run's sections" in caplog.text


def test_weights_that_ship_know_their_patients_and_others_in_their_place_do_not(tmp_path: Path):
    bundles = Path(__file__).resolve().parents[2] / "bundles"
    for bundle, trained_on in (("seg_kd", {"train", "validation"}), ("cls_kd", {"train"})):
        models = bundles / bundle / "models"
        assert find_record(models / "model.pt") is None
        record = find_own_or_shipped(models / "model.pt")
        assert record is not None and record.path == models / "model.json"
        split = json.loads(record.path.read_text())["split"]
        for name, groups in split["patient_groups"].items():
            wanted = {other for other in ("train", "validation") if other in trained_on} & {"train", name}
            assert set(groups) <= set(record.patients[name]), name
            assert wanted or not set(groups) & {*record.patients["train"]}
        assert set(split["trained_on"]) == trained_on
        learned = {group for name in trained_on for group in split["patient_groups"][name]}
        assert set(record.patients["train"]) == learned
        assert len(record.items["test"]) == split["slices"]["test"]
    # of other people, whose slices are numbered too
    others = [item("1", "A"), item("2", "B")]
    assert not record.concerns(others)
    assert record.concerns([*others, item("none of its slices", next(iter(record.patients["test"])))])
    assert replace(record, shipped=False).concerns(others)
    with pytest.raises(SectionOverlapError, match="model.pt was trained or chosen on 1 of this run's test patients"):
        mine = dealt(test=[item("1", next(iter(record.patients["train"])))])
        record_sections(mine, str(tmp_path / "run"), str(tmp_path / "run"), made_from=[str(models / "model.pt")])
    # a bundle that teaches is given as its folder
    with pytest.raises(SectionOverlapError, match="cls_kd was trained or chosen on 1 of this run's test patients"):
        record_sections(mine, str(tmp_path / "run"), str(tmp_path / "run"), made_from=[str(models.parent)])
    learned = dealt(validation=[item("1", next(iter(record.patients["train"])))])
    assert learned_of_validation(learned, str(models.parent)) == [learned["validation"][0]["patient_group"]]
    weights = tmp_path / "model.pt"
    (tmp_path / "model.json").write_bytes((bundles / "seg_kd/models/model.json").read_bytes())
    weights.write_bytes(b"others")
    assert find_own_or_shipped(weights) is None


def test_the_shipped_weights_are_scored_on_phantoms_as_others_are(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    shipped = Path(__file__).resolve().parents[2] / "bundles/seg_kd/models/model.pt"
    with caplog.at_level("INFO"):
        sections = figshare_sections(None, str(tmp_path), phantom_patients=6, phantom_size=48, checkpoint=str(shipped))
    assert "new" not in sections and all(sections.values())
    assert "none of the patients that the weights were trained on is in" in caplog.text


def test_what_inputs_the_shipped_weights_take_is_learned_of_the_patients_that_they_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bundle, given = Path(__file__).resolve().parents[2] / "bundles/seg_kd", []

    def sections_of(*_: Any, checkpoint: str | None, **__: Any) -> None:
        given.append(checkpoint)
        raise ValueError("that is all")

    monkeypatch.setattr("ckdmed.sections.slices.figshare_sections", sections_of)
    for name in ("model.pt", "model.json"):
        (tmp_path / name).write_bytes((bundle / "models" / name).read_bytes())
    words = ["intended-inputs", "record", str(tmp_path), "--checkpoint", str(tmp_path / "model.pt")]
    assert main([*words, "--sequence", "t1c"]) == 2
    assert given == [str(tmp_path / "model.pt")]
