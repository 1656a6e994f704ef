"""The share of the prepared images that memory keeps is that of the training and of the validation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundle import cls_runs, seg_kd_runs
from tests.bundle.bundle_runs import opened

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]


@pytest.mark.parametrize("bundle", ["seg_kd", "seg_teacher", "cls_kd"])
def test_memory_keeps_the_chosen_share(tmp_path: Path, bundle: str) -> None:
    tiny = {**(cls_runs if bundle == "cls_kd" else seg_kd_runs).TINY, "device": "$torch.device('cpu')"}
    if bundle == "seg_teacher":
        for name in ("teacher_epochs", "student_base"):
            del tiny[name]
    made = opened(bundle, **{**tiny, "output_dir": str(tmp_path), "cache_rate": 0.5})
    for section in ("train", "validate"):
        dataset = made.parser.get_parsed_content(f"{section}#dataset")
        assert len(dataset) > 1 and dataset.cache_num == len(dataset) // 2
