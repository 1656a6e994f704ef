from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.engines import SupervisedTrainer
from PIL import Image

from ckdmed.engines import weights_hash

PAGE = Path(__file__).resolve().parents[2] / "docs" / "use_in_your_trainer.md"


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def example() -> str:
    return examples()[0]


def test_the_example_is_short():
    code = [line for line in example().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(code) < 30


def test_the_example_trains_the_student_and_not_the_teacher():
    before, after = example().split("trainer.run()")
    assert after.strip() == ""
    names: dict[str, Any] = {}
    exec(compile(before, str(PAGE), "exec"), names)
    trainer, teacher, student = names["trainer"], names["teacher"], names["student"]
    assert type(trainer) is SupervisedTrainer
    spoken, untaught = teacher.state_hash(), weights_hash(student)
    alone = copy.deepcopy(student)
    trainer.run()
    assert teacher.state_hash() == spoken and weights_hash(student) != untaught
    # the teacher has had its say: without it the first batch pulls elsewhere
    x, y = torch.rand(2, 1, 64, 64), torch.ones(2, 1, 64, 64)
    trainer.state.output = {"image": x}
    pull = {}
    for name, value in (("both", names["loss"](alone(x), y)), ("labels", names["supervised"](alone(x), y))):
        pull[name] = torch.autograd.grad(value, next(alone.parameters()))[0]
    assert not torch.allclose(pull["both"], pull["labels"])


def test_the_example_with_features_trains_every_term():
    names: dict[str, Any] = {}
    exec(compile(examples()[1], str(PAGE), "exec"), names)
    terms = names["trainer"].state.terms
    assert set(terms) == {"supervised", "soft_targets", "features"} and all(value > 0 for value in terms.values())
    assert not any(name.startswith("projections") for name in names["network"].state_dict())


def test_the_example_of_readers_gives_a_channel_for_each_region(tmp_path: Path):
    names: dict[str, Any] = {}
    exec(compile(examples()[2], str(PAGE), "exec"), names)
    mask = np.zeros((80, 70), np.uint8)
    mask[20:50, 20:50], mask[30:40, 30:40] = 1, 2
    for name, values in (("image.png", mask * 100), ("label.png", mask)):
        Image.fromarray(values).save(tmp_path / name)
    item = names["transform"]({"image": str(tmp_path / "image.png"), "label": str(tmp_path / "label.png")})
    assert item["image"].shape == (1, 64, 64) and item["label"].shape == (2, 64, 64)
    assert item["label"][0].sum() > item["label"][1].sum() > 0
