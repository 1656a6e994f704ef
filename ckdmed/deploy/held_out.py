"""Images of a bundle's own data: those of the training section for calibration, others to judge the forms on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.data.utils import decollate_batch, list_data_collate
from monai.utils import CommonKeys

from ckdmed.bundle.workflow import bundle_workflow
from ckdmed.deploy.source import DeploySource
from ckdmed.export.undisturbed import undisturbed
from ckdmed.json_files import read_json
from ckdmed.section_names import section_in

__all__ = ["BundleData", "Run", "bundle_data"]

#: A network as a function of arrays: (B, C, *spatial) to logits.
Run = Callable[[np.ndarray], np.ndarray]

_SEED = 0
_PHANTOMS = 8


@dataclass(frozen=True)
class BundleData:
    """The data of a bundle, prepared as in its evaluation.

    Args:
        train: items of the training section.
        held_out: items of another section.
        section: which that is.
        prepare: what becomes of an item.
        infer: an inferer of the evaluation, over the network as a module or function.
        finish: from logits to masks on the item's own grid; None of classes.
    """

    train: Sequence[Any]
    held_out: Sequence[Any]
    section: str
    prepare: Callable[[Any], Any]
    infer: Callable[..., torch.Tensor]
    finish: Callable[[Any], Any] | None

    def calibration(self, run: Run, count: int) -> np.ndarray:
        """Inputs of the network, ``count`` at most, spread over the training section; (N, C, *spatial).

        Args:
            run: the float32 network; a sliding window wants its answers.
        """
        return self.inputs(self.train, run, count)

    def inputs(self, items: Sequence[Any], run: Run, count: int) -> np.ndarray:
        """The same of any items."""
        order = np.random.default_rng(_SEED).permutation(len(items))
        found: list[np.ndarray] = []
        for place, number in enumerate(order):
            seen: list[np.ndarray] = []
            item = self.prepare(items[int(number)])
            self.logits(item, _noting(run, seen))
            inputs = np.concatenate(seen)
            # a case has many slices, of which the first and last are empty
            share = -(-(count - len(found)) // (len(order) - place))
            inputs = inputs[[k for k in range(len(inputs)) if np.ptp(inputs[k]) > 0]]
            chosen = np.linspace(0, len(inputs) - 1, min(share, len(inputs))).round().astype(int)
            found += [inputs[k] for k in sorted(set(chosen.tolist()))]
            if len(found) >= count:
                break
        return np.stack(found[:count])

    def logits(self, item: Any, run: Run) -> torch.Tensor:
        """Of one prepared item by a form: (C, ...)."""

        def network(images: torch.Tensor) -> torch.Tensor:
            plain = images.as_tensor() if hasattr(images, "as_tensor") else images
            return torch.from_numpy(run(plain.float().numpy()))

        with torch.no_grad():
            return self.infer(item[CommonKeys.IMAGE][None], network)[0]

    def masks(self, item: Any, logits: torch.Tensor) -> np.ndarray:
        """Boolean masks of one item on its own grid, (R, *spatial)."""
        if self.finish is None:
            raise ValueError("classes have no masks.")
        # as an evaluator hands it on, with the record of what has to be undone
        batch: Any = list_data_collate([item])
        batch[CommonKeys.PRED] = logits[None]
        done = self.finish(decollate_batch(batch)[0])
        return np.asarray(done[CommonKeys.PRED]) > 0


@contextmanager
def bundle_data(source: DeploySource, dataset_dir: str | None, section: str) -> Iterator[BundleData]:
    """The data of a deployed network's bundle while the block runs; phantoms without a dataset.

    Args:
        source: the network.
        dataset_dir: as the bundle takes it.
        section: to judge on; not the training's.

    Raises:
        ValueError: the section is the training's, or has no items.
    """
    if section_in({"train"}, section) == "train":
        raise ValueError("forms are judged on slices that calibration did not use: --section test or validation.")
    with tempfile.TemporaryDirectory() as temporary:
        threshold = source.description.postprocessing.get("threshold")
        overrides: dict[str, Any] = {
            "dataset_dir": dataset_dir,
            "output_dir": f"{temporary}/run",
            "checkpoint": str(source.checkpoint),
            "section": section,
            "bundle_root": str(source.root),
            "device": "$torch.device('cpu')",
            "cache": "none",
        }
        if dataset_dir is None:
            # phantoms show whether a form gives what the network gives; a few of them do
            own = read_json(source.configs / "train.json")
            overrides |= {name: _PHANTOMS for name in ("phantom_patients", "phantom_cases") if name in own}
        with undisturbed():
            workflow = bundle_workflow(source.configs, overrides, ("train.json", "evaluate.json"))
            parser = workflow.parser
            if threshold is not None and "threshold" in parser.get():
                parser["threshold"] = threshold
            # forms are compared by their own answers, and calibrated with the images as they are
            if "tta" in parser.get():
                parser["tta"] = False
            parser.parse(True)
            sections = parser.get_parsed_content("sections")
            held_out = parser.get_parsed_content("validate#dataset")
            masks = source.description.task != "classification" and "class_names" not in parser.get()
            data = BundleData(
                train=list(sections["train"]),
                held_out=list(held_out.data),
                section=section,
                prepare=_prepared(held_out),
                infer=parser.get_parsed_content("validate#inferer"),
                finish=parser.get_parsed_content("validate#postprocessing") if masks else None,
            )
        if not data.train or not data.held_out:
            raise ValueError(f"{dataset_dir}: there is nothing in the sections train and {section}; name another one.")
        yield data


def _prepared(dataset: Dataset) -> Callable[[Any], Any]:
    def prepare(item: Any) -> Any:
        return dataset.transform(item)  # type: ignore[misc]

    return prepare


def _noting(run: Run, seen: list[np.ndarray]) -> Run:
    def noted(images: np.ndarray) -> np.ndarray:
        seen.append(np.array(images))
        return run(images)

    return noted
