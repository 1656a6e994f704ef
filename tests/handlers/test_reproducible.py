from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import CacheDataset, DataLoader, Dataset
from monai.transforms import Compose, RandGaussianNoised
from torch.utils.data import Subset

from ckdmed.handlers import ReproducibleEpochs


def noise() -> Compose:
    return Compose([RandGaussianNoised("image", prob=1.0)])


def items(count: int = 6) -> list[dict]:
    return [{"image": torch.full((1, 2, 2), float(i))} for i in range(count)]


def draws(data: DataLoader, seed: int = 1, epochs: int = 2, start: int = 0, rank: int = 0) -> list:
    """All that is random in each epoch."""
    seen: list = []
    engine = Engine(
        lambda _, batch: seen.append(
            (torch.as_tensor(batch["image"]).clone(), torch.rand(1).item(), np.random.rand(), random.random())
        )
    )
    ReproducibleEpochs(seed, data, rank).attach(engine)

    @engine.on(Events.STARTED)
    def resume(e: Engine) -> None:
        e.state.epoch, e.state.iteration = start, start * len(data)

    engine.run(data, max_epochs=epochs)
    return seen


def equal(one: list, other: list) -> bool:
    return len(one) == len(other) and all(torch.equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(one, other))


@pytest.mark.parametrize("kind", ["plain", "cached", "subset", "subset of a subset"])
def test_an_epoch_is_the_same_whenever_it_is_reached(kind: str):
    def data() -> DataLoader:
        if kind == "plain":
            dataset = Dataset(items(), noise())
        else:
            dataset = CacheDataset(items(), noise(), progress=False)
        if kind.startswith("subset"):
            dataset = Subset(dataset, [0, 2, 3, 5])
        if kind == "subset of a subset":
            dataset = Subset(dataset, [3, 1, 0])
        return DataLoader(dataset, batch_size=3, shuffle=True, num_workers=0)

    whole = draws(data(), epochs=3)
    random.seed(99), np.random.seed(99), torch.manual_seed(99)
    tail = draws(data(), epochs=3, start=2)
    assert equal(whole[-len(tail) :], tail)
    first, second = whole[: len(tail)], whole[len(tail) : 2 * len(tail)]
    assert not equal(first, second)
    assert not equal(first, draws(data(), seed=2, epochs=1))


def test_ranks_augment_differently():
    data = DataLoader(Dataset(items(), noise()), batch_size=3, num_workers=0)
    assert not equal(draws(data, rank=0, epochs=1), draws(data, rank=1, epochs=1))


def test_workers_repeat_too():
    def data() -> DataLoader:
        return DataLoader(Dataset(items(), noise()), batch_size=3, shuffle=True, num_workers=1)

    assert equal(draws(data(), epochs=1), draws(data(), epochs=1))


def test_samplers_are_told_the_epoch():
    class Sampler(torch.utils.data.SequentialSampler):
        epochs: list[int] = []

        def set_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

    dataset = Dataset(items())
    data = DataLoader(dataset, batch_size=3, sampler=Sampler(dataset), num_workers=0)
    draws(data, epochs=3)
    assert Sampler.epochs == [1, 2, 3]


def test_a_loader_without_a_dataset():
    engine = Engine(lambda *_: None)
    ReproducibleEpochs(1).attach(engine)
    engine.run([0], max_epochs=1)
    state = torch.get_rng_state()
    engine.run([0], max_epochs=2)
    assert not torch.equal(state, torch.get_rng_state())
