"""Whether a seed of the split decides anything: sections that a datalist holds are not split again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.data.datalist_form import SECTIONS
from ckdmed.data.sections import stored_datalist
from ckdmed.data.slice_datalist import is_slice_datalist
from ckdmed.json_files import read_json

__all__ = ["check_split_seed"]


def check_split_seed(
    split_seed: int,
    dataset_dir: Path,
    label_fraction: float = 1.0,
    fold: int | None = None,
    n_folds: int = 5,
    fold_source: str = "group",
) -> None:
    """Refuse a seed that would change nothing, so that nobody takes the stored split for another one.

    Args:
        split_seed: 0, the default, is never refused, nor is the seed of the datalist.
        dataset_dir: a dataset's folder, or a datalist, which was read before, so that its form is known to be right.
        label_fraction: below 1 the seed chooses the labelled patients.
        fold, n_folds, fold_source: folds are drawn by the seed where the datalist has not so many of its own.

    Raises:
        ValueError: the sections are those of a datalist, and nothing else is drawn by the seed.
    """
    stored = stored_datalist(dataset_dir)
    if split_seed == 0 or label_fraction < 1 or not stored.is_file():
        return
    datalist = read_json(stored)
    if not isinstance(datalist, Mapping) or split_seed == datalist.get("seed"):
        return
    if fold is None:
        # sections that are missing in a user's own datalist are drawn from its training items
        drawn = not datalist.get("validation")
    else:
        # a user's own datalist has no folds, whatever keys its items have beside those that are read
        own = is_slice_datalist(datalist)
        drawn = fold_source == "group" and (own or _folds(datalist) != set(range(n_folds)))
    if not drawn:
        made = f", made with seed {datalist['seed']}" if "seed" in datalist else ""
        raise ValueError(
            f"split_seed {split_seed} would change nothing: {'folds' if fold is not None else 'sections'} are those "
            f"of {stored}{made}. Leave split_seed out, or split the patients again into another datalist with that "
            "seed."
        )


def _folds(datalist: Mapping[str, Any]) -> Collection[Any]:
    parts: list[Sequence[Mapping[str, Any]]] = [datalist.get(name) or [] for name in SECTIONS]
    return {item.get("fold") for part in parts for item in part}
