"""An inference with weights that cannot be used writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckdmed.bundle.errors import RefusedStart, root_cause
from ckdmed.bundle.workflow import bundle_workflow
from tests.bundle.bundle_runs import BUNDLES, record

pytestmark = pytest.mark.usefixtures("process_as_it_was")


@pytest.mark.parametrize(
    "bundle", sorted(path.name for path in BUNDLES.iterdir() if (path / "inference.json").is_file())
)
@pytest.mark.parametrize("missing", [True, False])
def test_weights_that_cannot_be_used_leave_no_folder(tmp_path: Path, bundle: str, missing: bool) -> None:
    checkpoint, out = tmp_path / "models/model.pt", tmp_path / "out"
    record(checkpoint, bundle)
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
