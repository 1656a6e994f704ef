"""Three copies of a grey slice: the same in training, evaluation, inference and in the runtime without PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ckdmed.recipes import slice_preprocessing
from ckdmed.runtime.scaling import colour_copies as copies_without_torch
from ckdmed.runtime.scaling import scaled
from ckdmed.transforms import IMAGENET_MEAN, IMAGENET_STD, SliceIntensity, colour_copies
from tests.bundle import seg_kd_runs
from tests.bundle.bundle_runs import completed, history, opened


def grey() -> torch.Tensor:
    return torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0)) * 300


@pytest.mark.parametrize("scaling", ["percentiles", "report"])
def test_each_copy_has_the_statistics_of_its_colour(scaling: str) -> None:
    image = SliceIntensity(scaling)(grey())
    found = {"image": image}
    for step in colour_copies(["image"], scaling):
        found = step(found)
    made = torch.as_tensor(found["image"])
    assert made.shape == (3, 16, 16)
    if scaling == "report":
        eight = (255 * (grey() - grey().min()) / (grey().max() - grey().min())).round() / 255
        for copy, mean, deviation in zip(made, IMAGENET_MEAN, IMAGENET_STD):
            assert torch.allclose(copy, (eight[0] - mean) / deviation, atol=1e-5)
    else:
        assert all(torch.equal(copy, torch.as_tensor(image)[0]) for copy in made)
    without = copies_without_torch(scaled(grey().numpy(), scaling)[:, None], scaling)
    np.testing.assert_allclose(without[0], made.numpy(), atol=1e-6)


def test_the_copies_come_at_the_same_place_of_training_and_inference() -> None:
    chain = slice_preprocessing(16, use="inference", scaling="report", grey_as_rgb=True)
    names = [type(step).__name__ for step in chain.flatten().transforms]
    assert names[-3:] == ["SlicesToVolumed", "RepeatChanneld", "NormalizeIntensityd"]
    training = slice_preprocessing(16, scaling="report", grey_as_rgb=True).flatten().transforms
    assert [type(step).__name__ for step in training][1:4] == [
        "SliceIntensityd",
        "RepeatChanneld",
        "NormalizeIntensityd",
    ]
    with pytest.raises(ValueError, match="input_images is 2: set it to 1"):
        slice_preprocessing(16, images=2, grey_as_rgb=True)


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.usefixtures("process_as_it_was")
def test_a_student_of_three_channels_is_taught_scored_and_used(tmp_path: Path) -> None:
    settings = {"grey_as_rgb": True, "scaling": "report", "fold": 0, "fold_source": "official", "epochs": 1}
    settings |= {"augmentation": "horizontal", "phantom_patients": 30}
    made = seg_kd_runs.run(tmp_path, **settings)
    first = next(module for module in made.network_def.modules() if isinstance(module, torch.nn.Conv2d))
    assert first.in_channels == 3 and history(tmp_path)[0]["loss"] > 0
    checkpoint = str(tmp_path / "models" / "model.pt")
    phantoms = next((tmp_path / "phantoms").iterdir())
    inferred = opened(
        "seg_kd",
        "inference.json",
        dataset_dir=str(next(phantoms.rglob("*.mat"))),
        checkpoint=checkpoint,
        output_dir=str(tmp_path / "masks"),
        device="cpu",
        tta=False,
    )
    inferred.run()
    assert inferred.parser.get_parsed_content("in_channels") == 3
    assert list((tmp_path / "masks").rglob("*.png"))
    evaluated = {name: value for name, value in seg_kd_runs.TINY.items() if name not in ("teacher_epochs", "epochs")}
    scored = opened(
        "seg_kd",
        "train.json",
        "evaluate.json",
        **{**evaluated, "device": "$torch.device('cpu')", "output_dir": str(tmp_path), "phantom_patients": 30},
        evaluation_dir=str(tmp_path / "scores"),
        checkpoint=checkpoint,
    )
    completed(scored)
    assert (tmp_path / "scores" / "summary.json").is_file()
