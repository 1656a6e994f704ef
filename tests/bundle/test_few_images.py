"""A classifier's training does not fail by how many images there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckdmed.bundle import check_training_images
from ckdmed.bundle.errors import RefusedStart, root_cause
from tests.bundle.bundle_runs import history
from tests.bundle.cls_runs import STUDENT, run, workflow

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]


def sections(*labelled: bool) -> dict[str, Any]:
    items = [{"id": str(n), "label": 0, "labelled": known} for n, known in enumerate(labelled)]
    return {"train": items, "validation": [], "test": []}


def test_two_images_are_needed_and_two_labels_where_a_teacher_is_trained() -> None:
    check_training_images(sections(True, True))
    check_training_images(sections(True, False), labelled=False)
    with pytest.raises(RefusedStart, match=r"has 1 image with a label, .* larger label_fraction"):
        check_training_images(sections(True, False))
    with pytest.raises(RefusedStart, match=r"has 1 image, "):
        check_training_images(sections(True), labelled=False)


@pytest.mark.parametrize("name", ["cls_teacher", "cls_kd"])
def test_one_image_is_refused_before_anything_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckdmed.bundle.classification_sections", lambda **settings: sections(True))
    with pytest.raises(RuntimeError) as raised:
        workflow(name, tmp_path / "out").run()
    assert isinstance(root_cause(raised.value), RefusedStart)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".run.lock"]


def test_a_last_batch_of_one_ends_no_training(tmp_path: Path) -> None:
    blocks = [*STUDENT["network_def"]["blocks_args_str"][:-1], "r1_k3_s22_e2_i80_o112_se0.25"]
    settings = {
        # a 32nd of the image is one value per channel, as of EfficientNet-B0
        "network_def": {**STUDENT["network_def"], "blocks_args_str": blocks},
        "method": "supervised",
    }
    made = workflow("cls_kd", tmp_path / "counted", **settings)
    count = len(made.parser.get_parsed_content("sections")["train"])
    run("cls_kd", tmp_path / "out", batch_size=count - 1, **settings)
    assert len(history(tmp_path / "out")) == 1
