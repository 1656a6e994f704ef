"""The full evaluation of a classifier: scores per slice and patient, calibration, and Grad-CAM pictures."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.utils import CommonKeys
from torch import distributed, nn

from ckdmed.counted import counted
from ckdmed.handlers.item_writer import check_finite
from ckdmed.metrics import apply_temperature, fit_temperature
from ckdmed.reports import gradcam_maps, plot_classified, plot_gradcam, write_classification_report

__all__ = ["ClassificationEvaluation", "CollectLogits"]

_WHO = ("id", "patient", "patient_group")


class CollectLogits:
    """Keep the logits of every sample of an evaluator's run, with its label and whose it is.

    The evaluator's output must be whole batches (``decollate`` False, no postprocessing) with ``pred`` (B, C) and
    ``label`` (B,).

    Args:
        keep_images: also hold the images, on the CPU.

    Attach to the evaluator. Read ``rows`` (``id``, patient, ``label``), ``logits`` (N, C) and ``images``. Where a run
    is spread over processes, each keeps its own until :meth:`gather`.
    """

    def __init__(self, keep_images: bool = False) -> None:
        self.keep_images = keep_images
        self._start()

    def _start(self, _: Engine | None = None) -> None:
        self.rows: list[dict[str, Any]] = []
        self._logits: list[torch.Tensor] = []
        self.images: list[torch.Tensor] = []

    def attach(self, engine: Engine) -> None:
        """Register on the evaluator's beginning and iterations."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)

    @property
    def logits(self) -> np.ndarray:
        """(N, C) float, in the order of the rows."""
        return torch.cat(self._logits).double().numpy()

    def _iteration(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        labels = torch.as_tensor(output[CommonKeys.LABEL]).reshape(-1).tolist()
        who = {key: list(batch[key]) for key in _WHO if key in batch}
        for i, label in enumerate(labels):
            self.rows.append({**{key: str(values[i]) for key, values in who.items()}, "label": int(label)})
        logits = torch.as_tensor(output[CommonKeys.PRED]).detach().float().cpu()
        for row, own in zip(self.rows[-len(labels) :], logits, strict=True):
            check_finite(row.get("id", "an image"), own.numpy())
        self._logits.append(logits)
        if self.keep_images:
            self.images.extend(torch.as_tensor(output[CommonKeys.IMAGE]).detach().float().cpu())

    def gather(self) -> None:
        """Join the results of all processes, without samples that two of them got; no-op without any."""
        if not distributed.is_initialized():
            return
        parts: list[Any] = [None] * distributed.get_world_size()
        own = (self.rows, torch.cat(self._logits) if self._logits else None, self.images)
        distributed.all_gather_object(parts, own)
        rows: list[dict[str, Any]] = [row for part in parts for row in part[0]]
        logits = torch.cat([part[1] for part in parts if part[1] is not None])
        images = [image for part in parts for image in part[2]]
        first = {row["id"]: i for i, row in reversed(list(enumerate(rows)))}
        kept = sorted(first.values())
        self.rows, self._logits = [rows[i] for i in kept], [logits[kept]]
        self.images = [images[i] for i in kept] if images else []


class ClassificationEvaluation(CollectLogits):
    """Score a classifier's run over one set and write the report when it ends.

    Written are the files of :func:`~ckdmed.reports.write_classification_report`, ``predictions.png`` (slices with truth
    and probability) and, where layers are given, ``gradcam.png``.

    Args:
        output_dir: of the files.
        class_names: one per class.
        calibrate_with: an evaluator of the same network on the validation patients; its logits give the temperature.
            None: no scaling.
        gradcam: name -> (network, path of the layer), such as the teacher and the student, drawn side by side in this
            order; a network of None is left out.
        settings: noted in the summary: checkpoint, split, seed, command.
        n_pictures, n_gradcam: how many slices are drawn, the surest mistakes first and then spread over the rest.
        device: where the networks are.
        per_patient: whether a patient's slices have one class, so that patients can be scored.

    Attach to the evaluator.
    """

    def __init__(
        self,
        output_dir: str,
        class_names: Sequence[str],
        calibrate_with: Evaluator | None = None,
        gradcam: Mapping[str, tuple[nn.Module | None, str]] | None = None,
        settings: Mapping[str, Any] | None = None,
        n_pictures: int = 16,
        n_gradcam: int = 6,
        device: str | torch.device = "cpu",
        per_patient: bool = True,
    ) -> None:
        super().__init__(keep_images=True)
        self.per_patient = per_patient
        self.output_dir = Path(output_dir)
        self.class_names = list(class_names)
        self.calibrate_with = calibrate_with
        self.gradcam = dict(gradcam or {})
        self.settings = dict(settings or {})
        self.n_pictures = n_pictures
        self.n_gradcam = n_gradcam
        self.device = torch.device(device)
        self.summary: dict[str, Any] = {}
        self.logger = logging.getLogger(type(self).__name__)
        self._validation = CollectLogits()
        if calibrate_with is not None:
            self._validation.attach(calibrate_with)

    def attach(self, engine: Engine) -> None:
        """Register on the evaluator's beginning, iterations and end."""
        super().attach(engine)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _finish(self, _: Engine) -> None:
        temperature = None
        if self.calibrate_with is not None:
            self.calibrate_with.run()
            self._validation.gather()
            temperature = fit_temperature(
                self._validation.logits, np.array([row["label"] for row in self._validation.rows])
            )
        self.gather()
        if distributed.is_initialized() and distributed.get_rank() != 0:
            return
        if not self.rows:
            raise ValueError("there was nothing to evaluate: the section of the datalist is empty.")
        self.summary, table = write_classification_report(
            self.rows,
            self.logits,
            self.output_dir,
            self.class_names,
            temperature,
            settings=self.settings,
            per_patient=self.per_patient,
        )
        self._draw(apply_temperature(self.logits, 1.0))
        self.logger.info(f"evaluation of {counted(len(self.rows), 'slice')}, in {self.output_dir}:\n{table}")

    def _draw(self, probabilities: np.ndarray) -> None:
        labels = np.array([row["label"] for row in self.rows])
        chosen = _worth_seeing(probabilities, labels, self.n_pictures)
        plot_classified(
            [self.images[i].numpy() for i in chosen],
            [int(labels[i]) for i in chosen],
            probabilities[chosen],
            self.class_names,
            self.output_dir / "predictions.png",
            titles=[self.rows[i]["id"] for i in chosen],
            title="the most confident mistakes first",
        )
        models = {name: (network, layer) for name, (network, layer) in self.gradcam.items() if network is not None}
        if missing := [name for name in self.gradcam if name not in models]:
            self.logger.info(f"Grad-CAM: there is no {' and no '.join(missing)} to show beside the others")
        if not models:
            return
        chosen = _worth_seeing(probabilities, labels, self.n_gradcam)
        images = torch.stack([self.images[i] for i in chosen]).to(self.device)
        maps, captions = {}, {}
        for name, (network, layer) in models.items():
            maps[name] = gradcam_maps(network, images, layer)
            captions[name] = self._captions(network, images)
            if empty := int((~maps[name].any(axis=(1, 2))).sum()):
                self.logger.warning(
                    f"Grad-CAM: {empty} of {len(chosen)} maps of the {name} are empty: nothing in its layer {layer} "
                    "supports the predicted class; another layer may show more"
                )
        plot_gradcam(
            [image.cpu().numpy() for image in images],
            maps,
            self.output_dir / "gradcam.png",
            titles=[f"{self.rows[i]['id']}: {self.class_names[int(labels[i])]}" for i in chosen],
            captions=captions,
        )

    @torch.no_grad()
    def _captions(self, network: nn.Module, images: torch.Tensor) -> list[str]:
        training = network.training
        network.eval()
        probabilities = torch.cat([network(part).float().softmax(dim=1) for part in images.split(4)])
        network.train(training)
        highest, index = probabilities.max(dim=1)
        return [f"{self.class_names[int(i)]} {float(p):.2f}" for p, i in zip(highest, index)]


def _worth_seeing(probabilities: np.ndarray, labels: np.ndarray, count: int) -> list[int]:
    """Up to half of the slices are mistakes, the surest first; the rest are spread over the correct ones."""
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]
    right = np.flatnonzero(predicted == labels)
    n_wrong = min(len(wrong), max(count // 2, count - len(right)))
    n_right = min(len(right), count - n_wrong)
    spread = np.unique(np.linspace(0, max(len(right) - 1, 0), n_right).round()).astype(int)
    return [*wrong[:n_wrong].tolist(), *right[spread].tolist()]
