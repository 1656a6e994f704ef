"""Whether folds would take the place of sections that a user's own datalist lists."""

from __future__ import annotations

from pathlib import Path

from ckdmed.data.sections import stored_datalist
from ckdmed.data.slice_datalist import is_slice_datalist
from ckdmed.json_files import read_json

__all__ = ["check_sections_kept"]


def check_sections_kept(fold: int | None, dataset_dir: Path) -> None:
    """Refuse a fold of patients some of whom the user lists for validation or test: other folds would train on them.

    Args:
        fold: None is never refused.
        dataset_dir: a dataset's folder, or a datalist. Sections that a command made, of Figshare slices, are not a
            user's own.

    Raises:
        ValueError: a fold is asked for, and a user's own datalist lists images under 'validation' or 'test'.
    """
    stored = stored_datalist(dataset_dir)
    if fold is None or not stored.is_file():
        return
    datalist = read_json(stored)
    if not is_slice_datalist(datalist):
        return
    listed = [f"'{name}'" for name in ("validation", "test") if datalist.get(name)]
    if listed:
        raise ValueError(
            f"fold {fold} would train on patients whom {stored} lists under {' and '.join(listed)}, since folds are "
            "drawn from the patients of all sections. Leave fold out, or list under 'training' alone the images that "
            "the folds are to be drawn from."
        )
