"""Writing a classifier's probabilities for inputs of any number of slices."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys

from ckdmed.handlers.item_writer import check_finite
from ckdmed.paths import output_path
from ckdmed.reports.files import write_csv
from ckdmed.research_use import RESEARCH_USE_ONLY

__all__ = ["ProbabilityWriter"]

_SUFFIX = "_probabilities.csv"


class ProbabilityWriter:
    """Write ``NAME_probabilities.csv`` for each input, and ``probabilities.csv`` with a line for each at the end.

    An input's file has a line per slice: its number, the predicted class, its probability, and the probability of every
    class. The table at the end has their mean over the slices, and how many slices were predicted of each class; it
    takes up the inputs that an earlier run finished. The last column marks results as for research only and warns where
    the input is not one that the network was made for. For a volume most of whose slices show no tumour the mean says
    little: read its own file.

    Attach to an evaluator with decollated batches whose items hold ``name`` and, from the postprocessing, ``pred``:
    (S, C) probabilities. Where they also hold ``slices``, the numbers of S slices of a case, the lines have these
    numbers and, in front, the case; else slices are counted from 0.

    Args:
        output_dir: nothing is written outside of it.
        class_names: C names.
        done: called with an input's name and its file, relative to `output_dir`, when the file is in place.
        kept: names of inputs that are finished already, called at the end.
        notice: gives, by an input's name, the warning of its lines, "" for none.

    Raises:
        ValueError: when called, probabilities of another number of classes, or a name that leads out of the folder.
    """

    def __init__(
        self,
        output_dir: str,
        class_names: Sequence[str],
        done: Callable[[str, Sequence[str]], None] | None = None,
        kept: Callable[[], Sequence[str]] | None = None,
        notice: Callable[[str], str] | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.class_names = list(class_names)
        self.done = done
        self.kept = kept
        self.notice = notice
        # an inference in which an input fails runs the evaluator again for the others; all of them are in the table
        self._written: dict[str, dict[str, Any]] = {}

    def attach(self, engine: Engine) -> None:
        """Register on ``ITERATION_COMPLETED`` and ``COMPLETED``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)
        engine.add_event_handler(Events.COMPLETED, lambda _: self.write_table())

    def _iteration(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        for item, result in zip(batch, output, strict=True):
            self.write(str(item["name"]), torch.as_tensor(result[CommonKeys.PRED]), item.get("slices"))

    def write(self, name: str, probabilities: torch.Tensor, numbers: torch.Tensor | None = None) -> str:
        """Write one input's file from probabilities (S, C); returns its name relative to the folder."""
        if probabilities.ndim != 2 or probabilities.shape[1] != len(self.class_names):
            raise ValueError(
                f"{name}: the probabilities have shape {tuple(probabilities.shape)}, but there are "
                f"{len(self.class_names)} classes."
            )
        values = probabilities.detach().double().cpu().numpy()
        check_finite(name, values)
        note = self._note(name)
        if numbers is None:
            rows = [{"slice": number, **self._row(line), **note} for number, line in enumerate(values)]
        else:
            of_case = zip(torch.as_tensor(numbers).tolist(), values, strict=True)
            case = name.rpartition("/")[2]
            rows = [{"case": case, "slice": int(n), **self._row(line), **note} for n, line in of_case]
        relative = f"{name}{_SUFFIX}"
        write_csv(output_path(self.output_dir, relative), rows)
        self._written[name] = self._summary(name, values.mean(0), [str(row["predicted"]) for row in rows])
        if self.done is not None:
            self.done(name, [relative])
        return relative

    def _row(self, probabilities: np.ndarray) -> dict[str, Any]:
        best = int(probabilities.argmax())
        named = {f"probability_{name}": float(p) for name, p in zip(self.class_names, probabilities)}
        return {"predicted": self.class_names[best], "probability": float(probabilities[best]), **named}

    def _note(self, name: str) -> dict[str, str]:
        warning = self.notice(name) if self.notice is not None else ""
        return {"note": f"{warning}. {RESEARCH_USE_ONLY}" if warning else RESEARCH_USE_ONLY}

    def write_table(self) -> None:
        """Write the table over all inputs."""
        rows = {}
        for name in self.kept() if self.kept is not None else ():
            with open(output_path(self.output_dir, f"{name}{_SUFFIX}"), encoding="utf-8", newline="") as stream:
                lines = list(csv.DictReader(stream))
            means = np.array([[float(line[f"probability_{c}"]) for c in self.class_names] for line in lines]).mean(0)
            rows[name] = self._summary(name, means, [line["predicted"] for line in lines])
        write_csv(output_path(self.output_dir, "probabilities.csv"), list((rows | self._written).values()))

    def _summary(self, name: str, means: np.ndarray, predicted: Sequence[str]) -> dict[str, Any]:
        """The line of an input in the table."""
        counts = {f"slices_{c}": predicted.count(c) for c in self.class_names}
        return {"name": name, "slices": len(predicted), **self._row(means), **counts, **self._note(name)}
