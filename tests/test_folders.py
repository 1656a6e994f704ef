"""Folders of results take the place of our own folders only, and whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckdmed.folders import files_below, refuse_source_folder, remove_leftover_folders, replaced_folder


def ours(folder: Path) -> str | None:
    return None if files_below(folder) == ["mine"] else "it holds another's"


def fill(root: Path, name: str = "P1", text: str = "new") -> None:
    with replaced_folder(root, name, ours) as folder:
        (folder / "mine").write_text(text)


def test_an_own_or_empty_folder_is_replaced_and_no_other(tmp_path):
    (tmp_path / "P1").mkdir()
    fill(tmp_path, text="old")
    fill(tmp_path)
    assert (tmp_path / "P1" / "mine").read_text() == "new" and os.listdir(tmp_path) == ["P1"]
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "P1").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "P1" / "precious").write_text("mine")
    with pytest.raises(ValueError, match="P1 is not replaced: it holds another's.*Move it elsewhere"):
        fill(tmp_path, text="newer")
    assert files_below(tmp_path) == ["P1/mine", "P1/precious"]
    assert (tmp_path / "P1" / "mine").read_text() == "new"


@pytest.mark.parametrize("kind, message", [("link", "it is a link"), ("file", "it is a file")])
def test_a_link_or_file_in_the_place_is_left_alone(tmp_path, kind, message):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "mine").write_text("old")
    place = tmp_path / "out" / "P1"
    place.parent.mkdir()
    if kind == "link":
        place.symlink_to(tmp_path / "precious")
    else:
        place.write_text("old")
    with pytest.raises(ValueError, match=message):
        fill(tmp_path / "out")
    assert (tmp_path / "precious" / "mine").read_text() == "old" and os.listdir(tmp_path / "out") == ["P1"]


@pytest.mark.parametrize("name", ["..", ".", "../precious", "*", ""])
def test_a_name_that_leads_elsewhere_makes_nothing(tmp_path, name):
    (tmp_path / "precious").mkdir()
    with pytest.raises(ValueError, match="cannot be the name"):
        fill(tmp_path / "out", name)
    assert not files_below(tmp_path)


def test_what_fails_leaves_the_earlier_folder(tmp_path):
    fill(tmp_path, text="old")
    with pytest.raises(KeyError):
        with replaced_folder(tmp_path, "P1", ours) as folder:
            (folder / "mine").write_text("half")
            raise KeyError
    assert os.listdir(tmp_path) == ["P1"] and (tmp_path / "P1" / "mine").read_text() == "old"


def test_leftovers_of_the_same_name_go_and_folders_that_are_being_filled_stay(tmp_path):
    (tmp_path / ".P1.part-abcd_123").mkdir()
    (tmp_path / ".P1.part-2.part-abcd_123").mkdir()
    (tmp_path / ".P[1].part-abcd_123").mkdir()
    with replaced_folder(tmp_path, "P1", ours) as folder:
        (folder / "mine").write_text("other run")
        fill(tmp_path)
        assert (folder / "mine").read_text() == "other run"
    assert sorted(os.listdir(tmp_path)) == [".P1.part-2.part-abcd_123", ".P[1].part-abcd_123", "P1"]
    assert (tmp_path / "P1" / "mine").read_text() == "other run"


KILLED = """
import os, sys
from pathlib import Path
from ckdmed import folders
count, moves = int(sys.argv[2]), []
move = os.replace
def counted(*places):
    moves.append(places)
    if len(moves) == count:
        os._exit(9)
    move(*places)
    # after the last
    if len(moves) + 1 == count == 3:
        os._exit(9)
os.replace = counted
with folders.replaced_folder(Path(sys.argv[1]), "P1", lambda folder: None) as folder:
    (folder / "mine").write_text("new")
"""


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_kill_at_either_move_is_made_good_by_the_next_run(tmp_path, count):
    fill(tmp_path, text="old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(count)], check=False)
    assert done.returncode == 9
    # before anything is made, the earlier result is in its place, and nothing else is there
    remove_leftover_folders(tmp_path, ["P2"])
    assert len(os.listdir(tmp_path)) > 1
    remove_leftover_folders(tmp_path, ["P1"])
    assert files_below(tmp_path) == ["P1/mine"] and os.listdir(tmp_path) == ["P1"]
    assert (tmp_path / "P1" / "mine").read_text() == ("old" if count < 3 else "new")
    fill(tmp_path)
    assert files_below(tmp_path) == ["P1/mine"] and (tmp_path / "P1" / "mine").read_text() == "new"


def tree(root: Path, *files: str) -> list[Path]:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return [root / name for name in files]


@pytest.mark.parametrize("out", ["data", "data/P1", "data/P1/out", "data/P1/anat", "data/P1/anat/x", "data/link/x"])
def test_results_among_the_inputs_are_refused(tmp_path, out):
    first, second = tree(tmp_path / "data", "P1/anat/t1.nii", "P2/anat/t1.nii")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "data" / "P1")
    with pytest.raises(ValueError, match="originals could be replaced; give another --output_dir"):
        refuse_source_folder(tmp_path / out, {"P1": [first], "P2": [second]}, [tmp_path / "data"])


def test_the_place_of_a_case_must_not_be_where_its_files_are(tmp_path):
    (path,) = tree(tmp_path / "data", "P1/anat/t1.nii")
    with pytest.raises(ValueError, match="lies where P1 would be written"):
        refuse_source_folder(tmp_path / "data", {"P1": [path]})
    (mask,) = tree(tmp_path / "out", "P1/seg.nii")
    with pytest.raises(ValueError, match="seg.nii lies where P1 would be written"):
        refuse_source_folder(tmp_path / "out", {"P1": [path]}, masks={"P1": mask})


def test_the_target_of_a_linked_case_is_a_source_too(tmp_path):
    (path,) = tree(tmp_path / "far", "P1/t1.nii")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "P1").symlink_to(path.parent)
    linked = {"P1": [tmp_path / "data" / "P1" / "t1.nii"]}
    for out in ("data", "far", "far/P1", "data/P1/x", "far/P1/x"):
        with pytest.raises(ValueError, match="give another --output_dir"):
            refuse_source_folder(tmp_path / out, linked, [tmp_path / "data"])


def test_a_link_that_leads_to_itself_is_nobodys_place(tmp_path):
    (tmp_path / "P1.png").symlink_to("P1.png")
    refuse_source_folder(tmp_path / "out", {"P1": [tmp_path / "P1.png"]}, [tmp_path])


def test_a_folder_of_a_series_is_refused(tmp_path):
    (path,) = tree(tmp_path / "data", "P1/t1w/1.dcm")
    for out in ("data/P1/t1w", "data/P1/t1w/x", "data/P1/x"):
        with pytest.raises(ValueError, match="give another --output_dir"):
            refuse_source_folder(tmp_path / out, {"P1": [path.parent]}, [tmp_path / "data"])


@pytest.mark.parametrize("out", ["prepared", "data/prepared", "data/raw/prepared", "data/P10", "elsewhere/P1"])
def test_any_other_folder_is_allowed(tmp_path, out):
    first, second, third = tree(tmp_path / "data", "P1/t1.nii", "raw/P2_t1.nii", "raw/P3_t1.nii")
    refuse_source_folder(tmp_path / out, {"P1": [first], "P2": [second], "P3": [third]}, [tmp_path / "data"])


def test_the_inputs_folder_may_lie_in_that_of_the_results(tmp_path):
    (path,) = tree(tmp_path / "work", "phantoms/P1/t1.nii")
    refuse_source_folder(tmp_path / "work", {"P1": [path]}, [tmp_path / "work" / "phantoms"])
