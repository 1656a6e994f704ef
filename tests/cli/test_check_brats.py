"""Masks of cases that lack one of BraTS's four sequences."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckdmed import cli
from ckdmed.data.phantoms import write_brats_phantoms


def test_masks_of_cases_with_some_sequences_are_checked_where_these_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_brats_phantoms(tmp_path, 2, (16, 16, 16), progress=False)
    for file in tmp_path.glob("*/*-t2w.nii.gz"):
        file.unlink()
    assert cli.main(["check-brats", str(tmp_path), "--quiet"]) == 1
    assert capsys.readouterr().out.count("missing: t2w") == 2
    assert cli.main(["check-brats", str(tmp_path), "--quiet", "--modalities", "t1n", "t1c", "t2f"]) == 0
    assert capsys.readouterr().out.count("fits") == 2
