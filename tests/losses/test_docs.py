"""The page on losses names every loss, schedule and projector, and its example runs."""

from __future__ import annotations

import re
from pathlib import Path

from torch import nn

import ckdmed.losses
from ckdmed.losses import schedules
from ckdmed.networks import projectors

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "losses.md").read_text(encoding="utf-8")


def test_every_loss_has_a_row() -> None:
    rows = set(re.findall(r"^\| `(\w+)`", PAGE, flags=re.MULTILINE))
    exported = {name: getattr(ckdmed.losses, name) for name in ckdmed.losses.__all__}
    losses = {
        name
        for name, item in exported.items()
        if isinstance(item, type) and issubclass(item, nn.Module) and name.endswith(("Loss", "Correction"))
    } - {"PairLoss", "DistillationLoss"}
    assert len(losses) > 30 and rows == losses
    assert all(issubclass(exported[name], nn.Module) for name in rows)


def test_every_schedule_and_projector_is_named() -> None:
    for name in (*schedules.__all__, *projectors.__all__):
        assert f"`{name}`" in PAGE


def test_the_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)  # noqa: S102
    student = names["student"]
    assert getattr(student, "grad").abs().max() > 0
