from __future__ import annotations

import torch

from ckdmed.handlers import TrainingAccuracy

LOGITS = torch.tensor([[2.0, 0], [0, 2], [3, 0], [0, 1]])


def test_the_share_of_correct_classes_of_labelled_samples() -> None:
    accuracy = TrainingAccuracy()
    assert accuracy.taken() is None
    accuracy.update({"pred": LOGITS, "label": torch.tensor([0, 1, 1, 1])}, {})
    assert accuracy.taken() == 0.75 and accuracy.taken() is None
    # labels that a training may not know do not count
    labelled = {"labelled": [True, True, True, False]}
    accuracy.update({"pred": LOGITS, "label": torch.tensor([0, 1, 1, 0])}, labelled)
    accuracy.update({"pred": LOGITS[:1], "label": torch.tensor([1])}, {"labelled": torch.tensor([False])})
    assert accuracy.taken() == 2 / 3


def test_of_mixed_labels_the_largest_counts() -> None:
    accuracy = TrainingAccuracy()
    mixed = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [1, 0]])
    accuracy.update({"pred": LOGITS, "label": mixed}, {})
    assert accuracy.taken() == 0.5


def test_a_segmentation_has_none() -> None:
    accuracy = TrainingAccuracy()
    accuracy.update({"pred": torch.rand(2, 1, 4, 4), "label": torch.zeros(2, 1, 4, 4)}, {})
    accuracy.update([{"pred": LOGITS[0], "label": torch.tensor(0)}], {})
    assert accuracy.taken() is None
