"""The scores of corrupted images."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundle import seg_kd_runs
from tests.bundle.bundle_runs import completed, opened

pytestmark = [pytest.mark.slow, pytest.mark.bundle]


def test_an_evaluation_of_worse_images_lies_beside_the_other(tmp_path: Path) -> None:
    seg_kd_runs.run(tmp_path, method="supervised")
    images = []
    for corruption in (None, "missing_field-3"):
        given = {"output_dir": str(tmp_path), "device": "$torch.device('cpu')", "corruption": corruption}
        made = completed(opened("seg_kd", "train.json", "evaluate.json", **given))
        images.append(made.parser.get_parsed_content("validate#dataset")[0]["image"].as_tensor())
    # the last 30 % of the columns are missing
    assert images[1][..., -images[1].shape[-1] // 4 :].std() == 0 < images[0][..., -images[0].shape[-1] // 4 :].std()
    texts = [(tmp_path / name / "summary.json").read_text(encoding="utf-8") for name in ("evaluation", "evaluation-2")]
    assert ["missing_field-3" in text for text in texts] == [False, True]
