from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from monai.transforms import Compose, Lambdad
from torch import nn

from ckdmed.experiments.classifier_scores import classifier_scores
from ckdmed.files import save_weights


class Sign(nn.Module):
    """Of two classes the second one where the image is above 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([-1.0, 1.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(1, 2, 3))[:, None] * self.weight


def to_image(value: float) -> torch.Tensor:
    return torch.full((1, 2, 2), value)


def test_images_without_a_label_are_no_wrong_answers(tmp_path: Path) -> None:
    """What has no class of a user's own datalist stands under 0 and was counted as wrong."""
    train = [{"image": v, "label": y, "labelled": known} for v, y, known in ((1.0, 1, 1), (-1.0, 0, 1), (2.0, 0, 0))]
    parts: dict[str, Any] = {
        "device": "cpu",
        "network_def": Sign(),
        "sections": {"train": train},
        "validate#preprocessing": Compose([Lambdad("image", to_image)]),
        "batch_size": 2,
    }
    workflow: Any = SimpleNamespace(parser=SimpleNamespace(get_parsed_content=parts.__getitem__))
    save_weights(tmp_path / "model.pt", Sign().state_dict())
    scores, _ = classifier_scores(workflow, "train", str(tmp_path / "model.pt"))
    assert scores["train_accuracy"] == 1
    # log(1 + exp(-2)) of both
    assert scores["train_loss"] == pytest.approx(0.126928, abs=1e-5)
