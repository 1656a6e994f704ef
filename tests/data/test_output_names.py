"""Names of outputs: different for every input, and inside the folder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckdmed.data.output_names import input_stem, output_names


def test_plain_names_stay_as_they_are():
    assert output_names(["1.mat", "sub/2.nii.gz", "sub/deep/Fall 3.png"]) == ["1", "sub/2", "sub/deep/Fall 3"]


def test_one_stem_in_two_folders_or_with_two_suffixes():
    assert output_names(["a/1.mat", "b/1.mat"]) == ["a/1", "b/1"]
    assert output_names(["1.mat", "1.png", "1.nii.gz", "2.png"]) == ["1_mat", "1_png", "1_nii_gz", "2"]


def test_a_dot_in_the_name_of_a_folder_begins_no_suffix():
    assert output_names(["1.2.840.5", "x.y/Lee.A"], ["1.2.840.5", "x.y/Lee.A"]) == ["1.2.840.5", "x.y/Lee.A"]
    assert output_names(["t1.png", "t1.png.mat", "t1"], ["t1"]) == ["t1_png", "t1.png", "t1"]


def test_capitals_are_not_told_apart_everywhere():
    first, second = output_names(["scan.png", "SCAN.png"])
    assert first.casefold() != second.casefold()


def test_a_name_that_looks_like_anothers_way_out():
    names = output_names(["1.mat", "1.png", "1_mat.png"])
    assert len({name.casefold() for name in names}) == 3


def test_a_folder_cannot_take_the_place_of_a_file():
    inside, beside = output_names(["1_mask.png/x.mat", "1.png"])
    assert not inside.startswith("1_mask.png/") and beside == "1"
    assert output_names(["report.json/x.mat"])[0].startswith("report_json/x-")


_PART = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=80).filter(lambda p: p not in (".", ".."))
_PATHS = st.lists(st.lists(_PART, min_size=1, max_size=3).map("/".join), min_size=1, max_size=6, unique=True)


@given(_PATHS)
def test_any_names_become_different_safe_ones(paths):
    names = output_names(paths)
    assert len({name.casefold() for name in names}) == len(paths)
    for name in names:
        assert not name.startswith("/")
        for part in name.split("/"):
            assert part not in ("", ".", "..") and len(part.encode()) <= 120 and part.isprintable()


@pytest.mark.parametrize("path", ["../1.mat", "/etc/1.mat", "a/../../1.mat", ""])
def test_paths_that_lead_out_are_refused(path):
    with pytest.raises(ValueError, match="not a path relative to a folder"):
        output_names([path])


def test_the_same_input_twice_is_refused():
    with pytest.raises(ValueError, match="are given twice"):
        output_names(["1.mat", "1.mat"])


def test_stems():
    assert [input_stem(n) for n in ("1.mat", "a.nii.gz", "a.NII.GZ", "a.b.png", "N2D")] == ["1", "a", "a", "a.b", "N2D"]
