from __future__ import annotations

from pathlib import Path

import pytest

from ckdmed.paths import checked_name, output_path


def test_output_path_makes_the_folders(tmp_path):
    assert output_path(tmp_path / "out", "a/b/c.png") == (tmp_path / "out" / "a" / "b" / "c.png").resolve()
    assert (tmp_path / "out" / "a" / "b").is_dir()


@pytest.mark.parametrize("relative", ["../x.png", "a/../../x.png", "link/x.png", "link/deeper/x.png"])
def test_output_path_stays_inside(tmp_path, relative):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="not inside the output folder"):
        output_path(tmp_path / "out", relative)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_absolute_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not inside the output folder"):
        output_path(tmp_path / "out", str(Path(tmp_path, "x.png")))


@pytest.mark.parametrize("name", ["BraTS-GLI-00001-000", "Brats18_TCIA05_396_1", "P 7 (left)", "Müller[1]", "a.b"])
def test_names_of_cases_stay_as_they_are(name):
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name, reason",
    [
        ("", "is empty"),
        (7, "not text"),
        (".", "begins with a dot"),
        ("..", "begins with a dot"),
        (".hidden", "begins with a dot"),
        ("../precious", "holds /"),
        ("/precious", "holds /"),
        ("..\\precious", r"holds \\"),
        ("C:precious", "holds :"),
        ("*", r"holds \*"),
        ("a\nb", "cannot be printed"),
        ("a\0", "cannot be printed"),
        ("a\udcff", "cannot be printed"),
        (" a", "begins or ends with a space"),
        ("a.", "ends with a dot"),
        ("ä" * 101, "has 202 bytes"),
    ],
)
def test_what_is_no_name_is_refused_with_the_reason(name, reason):
    with pytest.raises(
        ValueError, match=f"the case .* cannot be the name of a folder or file: it .*{reason}.*rename it"
    ):
        checked_name(name, "the case")


@pytest.mark.parametrize("relative", ["", ".", "..", "a\\..\\..\\x", "a\0"])
def test_the_folder_itself_is_no_place_in_it(tmp_path, relative):
    with pytest.raises(ValueError, match="not inside the output folder"):
        output_path(tmp_path / "out", relative)


def test_looking_up_makes_nothing(tmp_path):
    assert output_path(tmp_path / "out", "a/b", make_parents=False) == (tmp_path / "out" / "a" / "b").resolve()
    assert not (tmp_path / "out").exists()
