"""What the pictures of a training have in common: curves, and the best weights' predictions for some samples."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.inferers import Inferer, SimpleInferer
from monai.utils import CommonKeys
from skimage.io import imread
from torch.utils.data import Dataset

from ckdmed.files import load_weights
from ckdmed.json_files import parse_json
from ckdmed.reports.curves import plot_curves
from ckdmed.transforms.teacher_image import TEACHER_IMAGE

__all__ = ["SamplePrediction", "EndPictures"]


class SamplePrediction(NamedTuple):
    """A sample's image (C, *spatial) and the logits of both networks for it, without the batch axis."""

    image: torch.Tensor
    student: torch.Tensor
    teacher: torch.Tensor | None


class EndPictures(ABC):
    """Draw ``curves.png``, and ``predictions.png`` as :meth:`draw` has it, during a training and when it ends.

    They are drawn after the first validation, and after a later one where the last drawing took no more than ``share``
    of the time since; at the end in any case, and where the training ends in an error or is interrupted (Ctrl-C,
    SIGTERM) after a validation that was passed over. Predictions are drawn again when the best weights are others, and
    TensorBoard then gets the same picture. The training does not depend on it.

    Args:
        output_dir: where the pictures go.
        history: path of the ``.jsonl`` file of :class:`~ckdmed.handlers.TrainingHistory`.
        dataset: validation data, items with ``image`` and ``label``.
        network: the student; it predicts with the weights of ``checkpoint`` and gets its own back.
        checkpoint: the best student's weights; where the file is missing the network predicts as it is.
        inferer: how the network is run.
        device: where it is.
        count: how many samples, spread evenly over the dataset.
        save: False on every rank but one.
        modalities: names of the image's channels; where it has a multiple of them, as with neighbouring slices, those
            in the middle are meant. Empty where they are not known.
        teacher: whose predictions are drawn beside the student's; it stays as it is. None for none.
        teacher_inferer: how the teacher is run, like the network by default.
        summary_writer: a TensorBoard ``SummaryWriter``, or None.
        share: of the time, at least 0, that may pass with drawing during the training. Short epochs of small images
            would else spend a tenth of it there.
        clock: tells the time in seconds.

    Raises:
        ValueError: ``share`` is negative; when drawn, the image has no multiple of the modalities as channels.

    Attach to the trainer, after the handlers that write the history and the checkpoint.
    """

    #: Of the modalities, or of the channels where they have no names, the one that is shown.
    shown = 0

    def __init__(
        self,
        output_dir: str,
        history: str,
        dataset: Dataset,
        network: torch.nn.Module,
        checkpoint: str | None = None,
        inferer: Inferer | None = None,
        device: str | torch.device = "cpu",
        count: int = 12,
        save: bool = True,
        modalities: Sequence[str] = (),
        teacher: torch.nn.Module | None = None,
        teacher_inferer: Inferer | None = None,
        summary_writer: Any = None,
        share: float = 0.02,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not share >= 0:
            raise ValueError(f"share must be at least 0, got {share}.")
        self.output_dir = Path(output_dir)
        self.history = Path(history)
        self.dataset = dataset
        self.network = network
        self.checkpoint = checkpoint
        self.inferer = inferer or SimpleInferer()
        self.device = torch.device(device)
        self.count = count
        self.save = save
        self.modalities = tuple(modalities)
        self.teacher = teacher
        self.teacher_inferer = teacher_inferer or self.inferer
        self.summary_writer = summary_writer
        self.logger = logging.getLogger(type(self).__name__)
        self.share = share
        self.clock = clock
        self._drawn_at: int | None = None
        # when the last drawing was done and how long it took; the epoch of a validation that is not drawn yet
        self._drawn: tuple[float, float] | None = None
        self._owed: int | None = None
        self._drawn_of: tuple[int, int] | None = None

    @abstractmethod
    def draw(self, items: Sequence[dict[str, Any]], path: Path) -> None:
        """Write the picture of samples of the dataset; there is at least one."""

    def attach(self, engine: Engine) -> None:
        """Register on ``EPOCH_COMPLETED``, ``COMPLETED`` and ``EXCEPTION_RAISED``, whose error is raised again."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._after_validation)
        engine.add_event_handler(Events.COMPLETED, self)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._broken_off)

    def _after_validation(self, engine: Engine) -> None:
        if not self.save or not self.history.is_file():
            return
        rows = self.history.read_text(encoding="utf-8").splitlines()
        last = parse_json(rows[-1], str(self.history)) if rows else {}
        if last.get("metrics") and last.get("epoch") == engine.state.epoch:
            self._owed = engine.state.epoch
            # each drawing is paid for by the time after it, however long the next one takes
            if self._drawn is None or self._drawn[1] <= self.share * (self.clock() - self._drawn[0]):
                self(engine)

    def _broken_off(self, engine: Engine, error: BaseException) -> None:
        try:
            if self._owed is not None:
                self._draw(self._owed)
        except Exception as other:
            # such as of a disk that is full, which must not hide what ended the training
            self.logger.warning(f"no pictures of the last validation: {other}")
        # the engine leaves that to its handlers where there are any
        raise error

    def __call__(self, engine: Engine) -> None:
        if self.save and self._drawn_at != engine.state.epoch:
            self._draw(engine.state.epoch)

    def _draw(self, epoch: int) -> None:
        self._owed, began = None, self.clock()
        curves, predictions = self.output_dir / "curves.png", self.output_dir / "predictions.png"
        if self.history.is_file():
            plot_curves(self.history, curves)
        weights = self._weights()
        items = self._items() if weights is None or weights != self._drawn_of else []
        if items:
            self.draw(items, predictions)
            self._to_tensorboard(predictions, epoch)
            self.logger.info(f"pictures: {curves}, {predictions}")
        self._drawn_at, self._drawn_of = epoch, weights
        ended = self.clock()
        self._drawn = ended, ended - began

    def _weights(self) -> tuple[int, int] | None:
        """What tells one file of the best weights from the next; None where there is no file."""
        if not self.checkpoint or not Path(self.checkpoint).is_file():
            return None
        found = Path(self.checkpoint).stat()
        return found.st_mtime_ns, found.st_ino

    def _items(self) -> list[dict[str, Any]]:
        size = len(self.dataset)  # type: ignore[arg-type]
        wanted = np.unique(np.linspace(0, size - 1, min(self.count, size)).round()).astype(int).tolist()
        return [self.dataset[i] for i in wanted]

    def _to_tensorboard(self, path: Path, epoch: int) -> None:
        if self.summary_writer is not None:
            self.summary_writer.add_image(path.stem, imread(path)[..., :3], epoch, dataformats="HWC")
            self.summary_writer.flush()

    def channel_of(self, image: torch.Tensor) -> tuple[int, str]:
        """The channel of an image that is shown, and the name of its modality."""
        channels = len(image)
        count = len(self.modalities) or channels
        if channels % count:
            raise ValueError(
                f"an image has {channels} channels, but there are {count} modalities, {', '.join(self.modalities)}: "
                "give the name of each channel of a slice."
            )
        index = self.shown % count
        return channels // count // 2 * count + index, self.modalities[index] if self.modalities else ""

    @torch.no_grad()
    def predict(self, items: Sequence[dict[str, Any]]) -> list[SamplePrediction]:
        """Predictions of the best weights, and of the teacher, for samples, which may differ in size."""
        images = [torch.as_tensor(item[CommonKeys.IMAGE]).float() for item in items]
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            with self._best_weights(), _evaluating(self.network):
                student = self._logits(self.network, self.inferer, images)
            teacher: Sequence[torch.Tensor | None] = [None] * len(images)
            if self.teacher is not None:
                shown = [torch.as_tensor(item.get(TEACHER_IMAGE, item[CommonKeys.IMAGE])).float() for item in items]
                with _evaluating(self.teacher):
                    teacher = self._logits(self.teacher, self.teacher_inferer, shown)
        return [SamplePrediction(*parts) for parts in zip(images, student, teacher, strict=True)]

    def _logits(self, network: torch.nn.Module, inferer: Inferer, images: list[torch.Tensor]) -> list[torch.Tensor]:
        logits: list[torch.Tensor] = []
        for _, alike in groupby(images, key=lambda image: image.shape):
            for part in torch.stack(list(alike)).split(4):
                given: Any = inferer(part.to(self.device), network)
                logits += given.float().cpu().unbind()
        return logits

    @contextmanager
    def _best_weights(self) -> Iterator[None]:
        own = {k: v.clone() for k, v in self.network.state_dict().items()}
        try:
            if self.checkpoint and Path(self.checkpoint).is_file():
                self.network.load_state_dict(load_weights(self.checkpoint, self.device))
            yield
        finally:
            self.network.load_state_dict(own)


@contextmanager
def _evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards each module is in the mode in which it was."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
