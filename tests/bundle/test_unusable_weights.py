"""An inference with weights that cannot be used writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ckdmed.bundle.errors import RefusedStart, root_cause
from ckdmed.bundle.workflow import bundle_workflow
from tests.bundle import brats_runs, cls_runs, seg_kd_runs
from tests.bundle.bundle_runs import BUNDLES, record

# of networks that are made in a moment
SIZES: dict[str, dict[str, Any]] = {
    **brats_runs.SIZES,
    "cls_teacher": {**cls_runs.TEACHER, "image_size": 32},
    "seg_teacher": {name: seg_kd_runs.TINY[name] for name in ("teacher_base", "vit_hidden", "vit_layers", "vit_heads")},
}

pytestmark = pytest.mark.usefixtures("process_as_it_was")


@pytest.mark.parametrize(
    "bundle", sorted(path.name for path in BUNDLES.iterdir() if (path / "inference.json").is_file())
)
@pytest.mark.parametrize("missing", [True, False])
def test_weights_that_cannot_be_used_leave_no_folder(tmp_path: Path, bundle: str, missing: bool) -> None:
    checkpoint, out = tmp_path / "models/model.pt", tmp_path / "out"
    record(checkpoint, bundle, **SIZES.get(bundle, {}))
    if not missing:
        torch.save({"of.another.network": torch.zeros(1)}, checkpoint)
    workflow = bundle_workflow(
        BUNDLES / bundle, {"checkpoint": str(checkpoint), "output_dir": str(out)}, ("inference.json",)
    )
    workflow.initialize()
    with pytest.raises(Exception) as raised:
        workflow.run()
    cause = root_cause(raised.value)
    assert isinstance(cause, RefusedStart) and str(checkpoint) in str(cause)
    assert ("there is no checkpoint" if missing else "of another network") in str(cause)
    assert not out.exists()
