"""Several teachers and one student, so small that a training takes a second."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ckdmed.engines import (
    ChannelMap,
    CooperativeTeachers,
    DistilledStudent,
    FrozenTeacher,
    MultiTeacherTrainer,
    TeacherEnsemble,
    attach_fusion,
    attach_head,
)
from ckdmed.losses import (
    HEAD,
    BCEDiceLoss,
    CooperativeTeacherLoss,
    TeacherShares,
)
from ckdmed.methods import distillation_loss
from ckdmed.networks import UNet
from tests.toy import loader

MODALITIES = ["t1n", "t1c", "t2f"]
VIEWS = [["t1n", "t1c", "t2f"], ["t2f"]]
SIZE = 8


def net(channels: int, seed: int = 0, base: int = 2, **kwargs: Any) -> UNet:
    """Two regions out; three levels, so that d2 has half the image's resolution."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet(in_channels=channels, out_channels=2, features=[base, 2 * base, 4 * base], **kwargs)


def samples(count: int = 8, seed: int = 0, labelled: bool = False) -> list[dict[str, Any]]:
    """Three channels, the second of which shows the inner region and the third the outer one."""
    generator = torch.Generator().manual_seed(seed)
    items = []
    for number in range(count):
        image = 0.3 * torch.rand(len(MODALITIES), SIZE, SIZE, generator=generator)
        row, column = torch.randint(0, SIZE - 4, (2,), generator=generator).tolist()
        mask = torch.zeros(2, SIZE, SIZE)
        mask[0, row + 1 : row + 3, column + 1 : column + 3] = 1
        mask[1, row : row + 4, column : column + 4] = 1
        image[1:] += 0.5 * mask
        item: dict[str, Any] = {"image": image, "label": mask}
        if labelled:
            item["labelled"] = number % 2 == 0
        items.append(item)
    return items


def ensemble(base: int = 4, seed: int = 50) -> TeacherEnsemble:
    views = ChannelMap(MODALITIES).views(VIEWS)
    return TeacherEnsemble(
        {name: net(len(view), seed + n, base) for n, (name, view) in enumerate(views.items())}, views
    )


def cooperative(learning: bool = True, seed: int = 50) -> CooperativeTeachers:
    teachers = ensemble(seed=seed)
    taps = dict.fromkeys(teachers.names, "decoder.d2")
    fusion = attach_fusion(teachers, taps, 2, (1, len(MODALITIES), SIZE, SIZE), seed=seed)
    return CooperativeTeachers(teachers, taps, fusion, learning)


class Setup:
    """A trainer with all its parts, built anew as a new process would."""

    def __init__(
        self, mode: str = "online", method: str = "ckd", seed: int = 0, epochs: int = 2, **kwargs: Any
    ) -> None:
        self.shares = TeacherShares(len(VIEWS), 2)
        self.teacher: nn.Module = (
            FrozenTeacher(ensemble()) if mode == "frozen" else cooperative(learning=mode == "online")
        )
        inner: Any = self.teacher.network if isinstance(self.teacher, FrozenTeacher) else self.teacher
        self.ensemble: TeacherEnsemble = inner if isinstance(inner, TeacherEnsemble) else inner.ensemble
        self.loss = distillation_loss(method, "unimodal", shares=self.shares, cooperative=mode != "frozen")
        channels = ChannelMap(MODALITIES)(["t1c"])
        self.student: DistilledStudent = attach_head(
            net(1, seed),
            {HEAD: "decoder.d2"},
            2,
            (1, len(MODALITIES), SIZE, SIZE),
            channels,
            self.teacher,
            seed,
            self.loss,
        )
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=0.01)
        self.teacher_optimizer: torch.optim.Optimizer | None = None
        teacher_loss = None
        if mode != "frozen":
            learns = [p for p in self.teacher.parameters() if p.requires_grad]
            self.teacher_optimizer = torch.optim.AdamW(learns, lr=0.01)
            teacher_loss = CooperativeTeacherLoss(BCEDiceLoss(), self.ensemble.names, learning=mode == "online")
        kwargs.setdefault("train_data_loader", loader(samples()))
        self.trainer = MultiTeacherTrainer(
            device=torch.device("cpu"),
            max_epochs=epochs,
            network=self.student,
            teacher=self.teacher,
            distillation_loss=self.loss,
            optimizer=self.optimizer,
            teacher_optimizer=self.teacher_optimizer,
            teacher_loss=teacher_loss,
            decollate=False,
            **kwargs,
        )
