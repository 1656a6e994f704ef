"""A seed that would change nothing is refused; one that draws something is not."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

from ckdmed.bundle import brats_sections, classification_sections, figshare_sections
from ckdmed.data.brats import build_brats_datalist, write_brats_datalist
from ckdmed.data.datalist import DATALIST_NAME, build_figshare_datalist, write_datalist
from ckdmed.data.phantoms import write_brats_phantoms, write_figshare_phantoms
from ckdmed.sections.split_seed import check_split_seed

ITEMS = [{"id": name, "fold": number, "tumor_label": 1} for number, name in enumerate("abc")]


def stored(folder: Path, **own: object) -> Path:
    (folder / DATALIST_NAME).write_text(
        json.dumps({"training": ITEMS[:1], "validation": ITEMS[1:2], "test": ITEMS[2:], **own})
    )
    return folder


@pytest.mark.parametrize("how", [{}, {"fold": 0, "n_folds": 3}, {"fold": 0, "n_folds": 5, "fold_source": "official"}])
def test_sections_of_a_datalist_are_not_taken_for_others(tmp_path: Path, how: dict) -> None:
    data = stored(tmp_path, seed=1)
    with pytest.raises(ValueError, match="split_seed 2 would change nothing: .*datalist.json, made with seed 1"):
        check_split_seed(2, data, **how)
    with pytest.raises(ValueError, match="split_seed 2 would change nothing"):
        check_split_seed(2, data / DATALIST_NAME, **how)
    # the default, and the seed that it was made with
    check_split_seed(0, data, **how)
    check_split_seed(1, data, **how)


@pytest.mark.parametrize("how", [{"label_fraction": 0.5}, {"fold": 0, "n_folds": 5}])
def test_a_seed_that_draws_something(tmp_path: Path, how: dict) -> None:
    check_split_seed(2, stored(tmp_path, seed=1), **how)


def test_sections_that_are_drawn(tmp_path: Path) -> None:
    check_split_seed(2, tmp_path)
    # a user's own datalist of training items alone
    check_split_seed(2, stored(tmp_path, validation=[]))
    with pytest.raises(ValueError, match="sections are those of"):
        check_split_seed(2, stored(tmp_path))


def test_folds_of_a_users_own_datalist_are_drawn(tmp_path: Path) -> None:
    own = [{"image": f"{number}.png", "patient": str(number), "fold": number} for number in range(3)]
    data = stored(tmp_path, **{name: [item] for name, item in zip(("training", "validation", "test"), own)})
    # nothing reads what they call folds
    check_split_seed(2, data, fold=0, n_folds=3)


@pytest.mark.parametrize("damaged", ["text", {"id": 3}, ["a"]])
@pytest.mark.parametrize("task", ["slices", "cases"])
def test_a_damaged_datalist_is_told_of_by_file_and_entry(tmp_path: Path, task: str, damaged: object) -> None:
    stored(tmp_path, training=[damaged, *ITEMS[:1]])
    sections = (
        partial(figshare_sections, str(tmp_path), "") if task == "slices" else partial(brats_sections, str(tmp_path))
    )
    with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path / DATALIST_NAME))}: training\[0\](: '| is a)"):
        sections(split_seed=2, fold=0, n_folds=3)


def test_in_the_sections_of_slices(tmp_path: Path) -> None:
    write_figshare_phantoms(tmp_path, 8, (2, 2), 32, seed=0)
    write_datalist(build_figshare_datalist(tmp_path, seed=1)[0], tmp_path / DATALIST_NAME)
    for sections in (figshare_sections, classification_sections):
        arguments = (str(tmp_path), "") if sections is figshare_sections else ("figshare", str(tmp_path), "")
        own = {} if sections is figshare_sections else {"cache_dir": "", "class_names": ["a", "b", "c"]}
        with pytest.raises(ValueError, match="split_seed 3 would change nothing"):
            sections(*arguments, split_seed=3, **own)
        assert sections(*arguments, split_seed=3, teacher_folds=2, **own) == sections(*arguments, **own)


def test_in_the_sections_of_cases(tmp_path: Path) -> None:
    write_brats_phantoms(tmp_path, 6, (32, 32, 16), 0, ("GLI",))
    datalist, _ = build_brats_datalist(tmp_path, 1, release="2023")
    write_brats_datalist(datalist, tmp_path / DATALIST_NAME)
    with pytest.raises(ValueError, match="split_seed 3 would change nothing"):
        brats_sections(str(tmp_path), split_seed=3)
    assert brats_sections(str(tmp_path), split_seed=3, teacher_folds=2) == brats_sections(str(tmp_path), split_seed=1)
