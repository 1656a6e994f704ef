from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import torch
from monai.engines import SupervisedTrainer

from ckdmed.engines import weights_hash

PAGE = Path(__file__).resolve().parents[2] / "docs" / "use_in_your_trainer.md"


def example() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return code


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
