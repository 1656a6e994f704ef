from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer, default_prepare_batch
from torch import nn

from ckdmed.engines import ViewPrepareBatch, view_prepare_batch
from tests.toy import loader, samples, unet


def test_the_mask_moves_with_its_image():
    batch = next(iter(loader(samples(4))))
    torch.manual_seed(0)
    image, mask = ViewPrepareBatch("strong")(batch, "cpu")
    assert type(image) is torch.Tensor and image.shape == batch["image"].shape and mask.dtype == batch["label"].dtype
    assert not torch.equal(image, batch["image"]) and not torch.equal(mask, batch["label"])
    assert image[mask > 0.5].mean() - image[mask < 0.5].mean() > 0.2


def test_class_indices_without_an_axis_of_channels_move_too():
    batch = next(iter(loader(samples(4))))
    indices = {**batch, "label": batch["label"][:, 0].long()}
    drawn = []
    for given in (batch, indices):
        torch.manual_seed(0)
        drawn.append(ViewPrepareBatch("strong")(given, "cpu")[1])
    assert drawn[1].dtype == torch.long and torch.equal(drawn[1], drawn[0][:, 0].long())


def test_what_is_no_mask_stays():
    classes = torch.tensor([0, 1])
    batch = {"image": MetaTensor(torch.rand(2, 1, 16, 16)), "label": classes}
    image, label = ViewPrepareBatch("report")(batch, "cpu")
    assert torch.equal(label, classes) and not torch.equal(image, batch["image"].as_tensor())


def test_without_a_level_it_is_monais_own():
    assert view_prepare_batch() is default_prepare_batch
    assert isinstance(view_prepare_batch("strong"), ViewPrepareBatch)
    with pytest.raises(ValueError, match="level must be one of"):
        view_prepare_batch("wild")


def test_a_stock_trainer_repeats_with_its_seed():
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        network = unet()
        SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=1,
            train_data_loader=loader(samples(4)),
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
            loss_function=nn.BCEWithLogitsLoss(),
            prepare_batch=view_prepare_batch("report"),
            decollate=False,
        ).run()
        weights.append(network.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
