"""What a deployment came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckdmed.counted import counted
from ckdmed.deploy.verdict import Changes
from ckdmed.runtime import Description

__all__ = ["Costs", "Deployment", "FormResult", "ModelCost", "form_files"]


@dataclass
class FormResult:
    """A form that was wanted.

    Args:
        name: such as "onnx-int8".
        file: its name in the folder.
        written: whether it is there.
        reasons: why it fails, if it does.
        changes: on held-out slices; None where it could not be made at all.
        float_layers: names of the layers in float32 of an int8 form, the most sensitive first.
        all_int8: what it changed without these; None where all layers are in int8 from the start.
        finetuned: epochs that it was trained through its quantisers.
        before_finetuning: what it changed before that; None where it was not trained.
        logit_errors: before and after that, see `ckdmed.deploy.finetune.ThroughQuantisers`.
    """

    name: str
    file: str
    written: bool
    reasons: list[str] = field(default_factory=list)
    changes: Changes | None = None
    float_layers: Sequence[str] = ()
    all_int8: Changes | None = None
    finetuned: int = 0
    before_finetuning: Changes | None = None
    logit_errors: tuple[float, float] | None = None

    @property
    def title(self) -> str:
        """The name with what was done to it."""
        notes = []
        if self.float_layers:
            notes.append(f"{counted(len(self.float_layers), 'layer')} in float32")
        if self.finetuned:
            notes.append(f"{counted(self.finetuned, 'epoch')} through quantisers")
        return ", ".join([self.name, *notes])


def form_files(path: Path) -> list[Path]:
    """A form's file, and the weights that lie beside OpenVINO's."""
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


@dataclass
class ModelCost:
    """What a form or network costs; None is what was not measured.

    Args:
        megabytes: of its files, or of its weights in float32.
        milliseconds: threads -> latency of one input.
        cpu_milliseconds: of the processor for one input with one thread, whatever else the machine did meanwhile.
        joules: of one input with one thread.
        cold_start: seconds from the start of the imports to the first result, in a new process.
        peak_megabytes: of that process.
        parameters, flops, training_step: of networks; a step in seconds for one input.
    """

    megabytes: float
    milliseconds: dict[int, float]
    cpu_milliseconds: float | None = None
    joules: float | None = None
    cold_start: float | None = None
    peak_megabytes: float | None = None
    parameters: int | None = None
    flops: int | None = None
    training_step: float | None = None
    cuda_megabytes: float | None = None


@dataclass(frozen=True)
class Costs:
    """Of all forms and networks, measured in turns in one run, and the machine."""

    of: Mapping[str, ModelCost]
    machine: Mapping[str, Any]


@dataclass(frozen=True)
class Deployment:
    """All of it.

    Args:
        bundle: name.
        options: see `ckdmed.deploy.DeployOptions`.
        description: of the float32 network.
        forms: in the order in which they were wanted.
        costs: None where nothing was timed.
    """

    bundle: str
    options: Any
    description: Description
    forms: Sequence[FormResult]
    costs: Costs | None

    @property
    def complete(self) -> bool:
        """Whether every wanted form was written."""
        return all(form.written for form in self.forms)
