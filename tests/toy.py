"""Networks and data so small that a whole training takes a second."""

from __future__ import annotations

from typing import Any

import torch
from monai.data import DataLoader, Dataset
from torch import nn

from ckdmed.engines import DistillationTrainer, DistilledStudent, FrozenTeacher, attach_student
from ckdmed.losses import DistillationLoss
from ckdmed.methods import distillation_loss
from ckdmed.networks import UNet

STAGES = {f"d{i}": f"decoder.d{i}" for i in (4, 3, 2, 1)}


def unet(base: int = 2, seed: int = 0, **kwargs: Any) -> UNet:
    """A U-Net of five levels; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet(features=[base * 2**i for i in range(5)], **kwargs)


def samples(count: int = 8, size: int = 32, seed: int = 0, labelled: bool = False) -> list[dict[str, Any]]:
    """Noisy images with a bright square each, and its mask; every other one unlabelled if asked."""
    generator = torch.Generator().manual_seed(seed)
    items = []
    for number in range(count):
        image = 0.3 * torch.rand(1, size, size, generator=generator)
        row, column = torch.randint(2, size - 12, (2,), generator=generator).tolist()
        mask = torch.zeros(1, size, size)
        mask[:, row : row + 10, column : column + 10] = 1
        item: dict[str, Any] = {"image": image + 0.5 * mask, "label": mask}
        if labelled:
            item["labelled"] = number % 2 == 0
        items.append(item)
    return items


def loader(items: list[dict[str, Any]] | None = None, batch_size: int = 4, **kwargs: Any) -> DataLoader:
    return DataLoader(Dataset(samples() if items is None else items), batch_size=batch_size, num_workers=0, **kwargs)


def pair(
    loss: DistillationLoss, student: nn.Module | None = None, seed: int = 0, **teacher: Any
) -> tuple[DistilledStudent, FrozenTeacher]:
    """A student and a teacher twice as wide, tapped as the loss asks."""
    frozen = FrozenTeacher(unet(base=4, seed=99, **teacher), taps=loss.select_taps(STAGES))
    tapped = attach_student(
        student if student is not None else unet(seed=seed),
        frozen,
        taps=STAGES,
        loss=loss,
        input_shape=(2, 1, 32, 32),
        seed=seed,
    )
    return tapped, frozen


def trainer(
    student: DistilledStudent | None = None,
    teacher: FrozenTeacher | None = None,
    loss: DistillationLoss | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    data: DataLoader | None = None,
    epochs: int = 1,
    **kwargs: Any,
) -> DistillationTrainer:
    """A trainer of what is given, the rest being small."""
    loss = loss if loss is not None else distillation_loss()
    if student is None:
        student, teacher = pair(loss)
    kwargs.setdefault("decollate", False)
    return DistillationTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=data if data is not None else loader(),
        network=student,
        teacher=teacher,
        distillation_loss=loss,
        optimizer=optimizer if optimizer is not None else torch.optim.AdamW(student.parameters(), lr=1e-3),
        **kwargs,
    )
