from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ckdmed import cli
from ckdmed.data import build_figshare_datalist, datalist_problems, patient_group, read_manifest
from ckdmed.data.manifest import make_figshare_manifest, write_manifest
from ckdmed.data.phantoms import write_brats_phantoms

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def datalist(small_set):
    return build_figshare_datalist(small_set, progress=False)[0]


def problems(datalist, folder, **options):
    return datalist_problems(datalist, folder, progress=False, **options)


def test_a_sound_datalist_has_no_problems(datalist, small_set):
    assert problems(datalist, small_set, hashes=True) == []


def test_each_problem_is_named(datalist, small_set):
    training, test = datalist["training"], datalist["test"]
    training[0]["patient_group"] = test[0]["patient_group"]
    training[1]["sha256"] = training[2]["sha256"]
    (small_set / training[3]["image"]).unlink()
    (small_set / training[4]["image"]).write_bytes(b"changed")
    training[5]["sha256"] = None
    found = "\n".join(problems(datalist, small_set, hashes=True))
    assert f"'{test[0]['patient_group']}' is in test, training" in found
    assert f"person '{patient_group(training[0]['patient'])}' is in 2 groups" in found
    assert f"slices {training[1]['id']}, {training[2]['id']} are the same file" in found
    assert f"{small_set / training[3]['image']} is missing" in found
    assert f"the SHA-256 of {small_set / training[4]['image']} differs" in found
    assert f"slice '{training[5]['id']}': the datalist has no SHA-256" in found
    # The seventh: the second slice bears the hash of the third, which its own bytes do not have.
    assert len(found.splitlines()) == 7


def test_differences_from_a_manifest_are_named(datalist, small_set):
    item = datalist["training"][0]
    known = {"tumor_label": item["tumor_label"] % 3 + 1, "patient": item["patient"], "official_fold": 3, "sha256": None}
    (line,) = problems(datalist, small_set, manifest={item["id"]: known})
    assert (
        line == f"slice '{item['id']}': tumor_label is {item['tumor_label']}, the manifest has {known['tumor_label']}"
    )


def write_table(small_set, path, datalist):
    lines = ["id,patient_id,patient_group,label,fold"]
    for item in sum((datalist[name] for name in ("training", "validation", "test")), []):
        lines.append(f"{item['id']},{item['patient']},{item['patient_group']},{item['tumor_label']},2")
    path.write_text("\n".join([*lines, "99,77,77,2,5"]) + "\n")


def test_a_manifest_is_made_written_and_read(datalist, small_set, tmp_path_factory):
    table = tmp_path_factory.mktemp("table") / "slices.csv"
    write_table(small_set, table, datalist)
    manifest = make_figshare_manifest(small_set, table, progress=False)
    assert (manifest["slices_listed"], manifest["slices_hashed"]) == (37, 36)
    path = write_manifest(manifest, table.with_name("manifest.json"))
    known = read_manifest(path)
    assert list(known)[:3] == ["1", "2", "3"]
    assert known["99"] == {
        "id": "99",
        "tumor_label": 2,
        "patient": "77",
        "patient_group": "77",
        "official_fold": 5,
        "sha256": None,
    }
    assert problems(datalist, small_set, manifest=known) == []
    table.write_text(table.read_text().replace("1,200000,200000,1,", "1,200000,200000,2,"))
    with pytest.raises(ValueError, match="1.mat: 200000, label 1; the table has"):
        make_figshare_manifest(small_set, table, progress=False)


def test_other_files_are_no_manifest(tmp_path):
    path = tmp_path / "m.json"
    with pytest.raises(ValueError, match="no such manifest"):
        read_manifest(path)
    for text, message in [
        ("[]", "not a manifest"),
        ('{"columns": ["id"], "slices": []}', "the columns must be"),
        (
            '{"columns": ["id","tumor_label","patient","patient_group","official_fold","sha256"],"slices": [["1"]]}',
            "a slice must be a list of 6 values",
        ),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_manifest(path)


def test_the_manifest_of_this_checkout():
    path = ROOT / "data_manifests" / "figshare.json"
    known = read_manifest(path)
    assert path.stat().st_size < 400_000
    assert len(known) == 2738 and sum(row["sha256"] is not None for row in known.values()) == 180
    assert {row["official_fold"] for row in known.values()} == {1, 2, 3, 4, 5}
    assert all(patient_group(row["patient"]) == row["patient_group"] for row in known.values())
    about = json.loads(path.read_text())
    assert about["licence"] == "CC BY 4.0" and about["doi"] == "10.6084/m9.figshare.1512427"
    assert json.loads((path.parent / "brats.json").read_text())["licence"]


def test_original_files_are_those_of_the_manifest(figshare_mat_dir):
    datalist, skipped = build_figshare_datalist(figshare_mat_dir, progress=False)
    known = read_manifest(ROOT / "data_manifests" / "figshare.json")
    assert skipped == [] and problems(datalist, figshare_mat_dir, manifest=known) == []
    items = datalist["training"] + datalist["validation"] + datalist["test"]
    assert all(known[item["id"]]["sha256"] == item["sha256"] for item in items)


def test_the_commands(small_set, capsys):
    output = small_set / "lists" / "d.json"
    assert cli.main(["datalist", str(small_set), "--output", str(output), "--quiet"]) == 0
    assert "36 slices, 0 files left out" in capsys.readouterr().out
    check = ["check-datalist", str(output), "--dataset-dir", str(small_set), "--hashes", "--quiet"]
    assert cli.main(check) == 0
    (small_set / "1.mat").write_bytes(b"")
    assert cli.main(check) == 1
    assert "1.mat differs from the datalist's" in capsys.readouterr().out
    assert cli.main(["datalist", str(small_set), "--folds", "3", "--no-hashes", "--quiet"]) == 1
    assert f"left out: {small_set / '1.mat'}: the file is empty" in capsys.readouterr().out
    assert len({item["fold"] for item in json.loads((small_set / "datalist.json").read_text())["training"]}) == 1
    assert cli.main(["datalist", str(small_set / "none")]) == 2
    assert "none: not a folder." in capsys.readouterr().err


def _slice(side, number):
    return np.arange(number, number + side * side, dtype=np.uint8).reshape(side, side)


def test_the_command_checks_datalists_of_own_images(tmp_path, capsys):
    for number in range(6):
        Image.fromarray(_slice(8, number)).save(tmp_path / f"{number}.png")
    items = [{"image": f"{n}.png", "label": f"{n}.png", "patient": f"p{n}"} for n in range(6)]
    path = tmp_path / "datalist.json"

    def check(*more, **sections):
        path.write_text(json.dumps(sections))
        status = cli.main(["check-datalist", str(path), "--quiet", *more])
        said = capsys.readouterr()
        return status, said.out + said.err

    assert check(training=items) == (0, f"{path}: 6 slices, 0 problems\n")
    assert check(training=[{"image": f"{n}.png", "class": n % 2, "patient": n} for n in range(6)])[0] == 0
    status, said = check(training=items[:4], validation=items[4:5], test=[{**items[5], "patient": "P0"}])
    assert status == 1 and "by their spelling: p0 is P0" in said and "'P0' is in test, training" in said
    assert "6 slices, 2 problems" in said
    status, said = check(training=[*items, {**items[0], "image": "none.png"}])
    assert status == 2 and "none.png: no such file" in said
    status, said = check("--hashes", training=items)
    assert status == 2 and "--hashes and --manifest are for datalists that `ckdmed datalist` wrote" in said


def test_the_command_reads_every_own_image_and_mask(tmp_path, capsys):
    for number in range(4):
        Image.fromarray(_slice(8, number)).save(tmp_path / f"{number}.png")
    Image.fromarray(np.ones((8, 9), np.uint8)).save(tmp_path / "wide.png")
    (tmp_path / "damaged.png").write_bytes((tmp_path / "0.png").read_bytes()[:40])
    volume = np.arange(108.0).reshape(6, 6, 3)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "volume.nii")
    nib.save(nib.Nifti1Image(volume, np.diag([1, 1, 2, 1])), tmp_path / "moved.nii")
    items = [{"image": f"{n}.png", "label": f"{n}.png", "patient": f"p{n}"} for n in range(3)]
    path = tmp_path / "datalist.json"

    def check(*test):
        path.write_text(json.dumps({"training": items[:2], "validation": items[2:], "test": test}))
        status = cli.main(["check-datalist", str(path), "--quiet"])
        return status, capsys.readouterr().out.splitlines()

    assert check({"image": "3.png", "label": "3.png", "patient": "p3"}) == (0, [f"{path}: 4 slices, 0 problems"])
    status, (told, last) = check({"image": "3.png", "label": "wide.png", "patient": "p3"})
    assert status == 1 and "3.png" in told and "wide.png" in told and "8 x 9" in told and "1 problem" in last
    status, (told, last) = check({"image": "damaged.png", "patient": "p3"})
    assert status == 1 and told.startswith(f"{tmp_path / 'damaged.png'}: ") and "1 problem" in last
    # once for the volume, not once for each slice
    status, (told, last) = check({"image": "volume.nii", "label": "moved.nii", "patient": "p3"})
    assert status == 1 and "moved.nii" in told and last == f"{path}: 6 slices, 1 problem"
    status, (told, last) = check({"image": ["3.png", "2.png"], "label": "3.png", "patient": "p3"})
    assert status == 1 and "3 slices of 1 (such as '0'), 1 slice of 2 (such as '3')" in told and "1 problem" in last


def test_notes_in_a_datalist_of_own_images_are_no_problem(tmp_path, capsys):
    items = [
        {"image": f"{number}.png", "label": f"{number}.png", "patient": str(number), "age": 40} for number in "abc"
    ]
    for number, item in enumerate(items):
        Image.fromarray(_slice(4, number)).save(tmp_path / item["image"])
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"training": items[:2], "validation": items[2:]}))
    assert cli.main(["check-datalist", str(path), "--quiet"]) == 0
    told, last = capsys.readouterr().out.splitlines()
    assert "not read: 'age' (in 3 items)" in told and last == f"{path}: 3 slices, 0 problems"


def test_the_command_checks_datalists_of_cases(tmp_path, capsys):
    write_brats_phantoms(tmp_path, 4, (16, 16, 16))
    path = tmp_path / "datalist.json"
    assert cli.main(["brats-datalist", str(tmp_path), "--quiet"]) == 0
    capsys.readouterr()
    assert cli.main(["check-datalist", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: 4 cases, 0 problems\n"
    elsewhere = path.rename(tmp_path.parent / f"{tmp_path.name}.json")
    assert cli.main(["check-datalist", str(elsewhere), "--dataset_dir", str(tmp_path)]) == 0
    assert cli.main(["check-datalist", str(elsewhere)]) == 1
    elsewhere.rename(path)
    capsys.readouterr()
    (tmp_path / json.loads(path.read_text())["training"][0]["image"][0]).unlink()
    assert cli.main(["check-datalist", str(path)]) == 1
    assert "no such file, though the datalist names it" in capsys.readouterr().out


def test_a_manifest_of_other_slices_is_a_problem(small_set):
    datalist, _ = build_figshare_datalist(small_set, progress=False)
    other = {"9999": {"tumor_label": 1}}
    assert problems(datalist, small_set, manifest=other) == [
        "the manifest names none of these slices; does it belong to this data set?"
    ]
