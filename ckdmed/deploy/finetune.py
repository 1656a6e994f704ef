"""Training through quantisers: where plain int8 fails, the weights learn to give the float32 network's answers."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from ckdmed.deploy.float_forms import FormError, as_function, quiet, save_openvino, write_onnx
from ckdmed.deploy.held_out import BundleData
from ckdmed.deploy.int8_forms import int8_description, write_int8_onnx
from ckdmed.deploy.source import DeploySource

__all__ = ["ThroughQuantisers", "finetuned", "train_through_quantisers"]

_BATCH = 4
_LEARNING_RATE = 1e-4
_SEED = 0
# NNCF compiles its quantisers when they are first used, and gives up after a minute by default
_COMPILING, _SECONDS = "NNCF_EXTENSION_LOAD_TIMEOUT", "900"


@dataclass(frozen=True)
class ThroughQuantisers:
    """A network with quantisers.

    Args:
        network: in evaluation mode.
        losses: of the epochs.
        before, after: error on the images before and after the training: the mean squared difference of logits from
            those of the float32 network, divided by their variance.
    """

    network: nn.Module
    losses: Sequence[float]
    before: float
    after: float


def finetuned(
    source: DeploySource,
    data: BundleData,
    names: Sequence[str],
    folder: Path,
    epochs: int,
    images: int,
    float_layers: Sequence[str] = (),
) -> ThroughQuantisers:
    """Write int8 forms again, from weights that were trained through NNCF's quantisers with the float32 network as
    teacher.

    Args:
        source: the network, which is left as it is.
        data: of its bundle; only the training section is used.
        names: some of "onnx-int8" and "openvino-int8".
        folder: of the forms.
        epochs: over the images.
        images: of the training section at most, for calibration and training.
        float_layers: see `write_int8_onnx`.

    Raises:
        FormError: NNCF cannot quantise the network in PyTorch.
    """
    inputs = data.calibration(as_function(source.network), images)
    trained = train_through_quantisers(source.network, inputs, epochs, float_layers)
    # first, since it can fail: all of the forms are those of this training, or none
    if "onnx-int8" in names:
        # ONNX Runtime runs the patterns of its own quantiser fastest; the weights are what the training is for
        network = copy.deepcopy(source.network)
        state = trained.network.state_dict()
        network.load_state_dict({name: state[name] for name in network.state_dict()})
        float_file = folder.parent / "finetuned.onnx"
        write_onnx(network.eval(), source.description, float_file)
        write_int8_onnx(float_file, inputs, source.description, folder / "model-int8.onnx", float_layers)
    if "openvino-int8" in names:
        _write_openvino(source, trained.network, folder / "model-int8.xml")
    return trained


def train_through_quantisers(
    network: nn.Module, inputs: np.ndarray, epochs: int, float_layers: Sequence[str] = ()
) -> ThroughQuantisers:
    """A copy of a network with NNCF's quantisers, whose weights and ranges have learned the network's own logits.

    The loss is the mean squared difference of logits, divided by their variance. The learning rate falls to zero by
    a cosine. Normalisation keeps its statistics. The weights of the best epoch on the images are kept, those before the
    training where no epoch is better.

    Args:
        network: the teacher.
        inputs: (N, C, *spatial).
        epochs: over them, in batches of four, in an order by a fixed seed.
        float_layers: modules without quantisers.

    Raises:
        FormError: NNCF cannot quantise the network, or not compute with its quantisers.
    """
    import nncf

    teacher = network.eval()
    with quiet(), _time_to_compile():
        try:
            dataset = nncf.Dataset([torch.from_numpy(image[None]) for image in inputs])
            # NNCF names what a module computes "outer/inner/conv2d/0"
            scopes = [f"{re.escape(layer.replace('.', '/'))}/[^/]+/[0-9]+" for layer in float_layers]
            ignored = nncf.IgnoredScope(patterns=scopes)
            student = nncf.quantize(
                copy.deepcopy(teacher), dataset, subset_size=len(inputs), ignored_scope=ignored
            ).eval()
            expected = _answers(teacher, inputs)
            scale = expected.var().clamp_min(1e-6)
            before = _error(_answers(student, inputs), expected, scale)
        # what it meets in a network it does not know raises whatever it is
        except Exception as error:
            raise FormError(f"NNCF cannot quantise it for training ({' '.join(str(error).split())[:200]})") from error
    # quantisers hold whole numbers beside their ranges
    parameters = [each.requires_grad_() for each in student.parameters() if each.is_floating_point()]
    optimizer = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, weight_decay=0.0)
    starts = range(0, len(inputs), _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs * len(starts)))
    order = np.random.default_rng(_SEED)
    losses, after, best = [], before, copy.deepcopy(student.state_dict())
    for epoch in range(epochs):
        shuffled = order.permutation(len(inputs))
        total = 0.0
        for start in tqdm(starts, desc=f"quantisers, epoch {epoch + 1} of {epochs}", leave=False):
            chosen = shuffled[start : start + _BATCH]
            loss = functional.mse_loss(student(torch.from_numpy(inputs[chosen])).float(), expected[chosen]) / scale
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
        losses.append(total / len(inputs))
        now = _error(_answers(student, inputs), expected, scale)
        if now < after:
            after, best = now, copy.deepcopy(student.state_dict())
    student.load_state_dict(best)
    return ThroughQuantisers(student.eval(), losses, before, after)


def _answers(network: nn.Module, inputs: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([network(torch.from_numpy(image[None])).float() for image in inputs])


def _error(logits: torch.Tensor, expected: torch.Tensor, scale: torch.Tensor) -> float:
    return float(functional.mse_loss(logits, expected) / scale)


@contextmanager
def _time_to_compile() -> Iterator[None]:
    given = os.environ.get(_COMPILING)
    os.environ.setdefault(_COMPILING, _SECONDS)
    try:
        yield
    finally:
        if given is None:
            del os.environ[_COMPILING]


def _write_openvino(source: DeploySource, quantised: nn.Module, path: Path) -> None:
    import nncf
    import openvino

    with quiet(), torch.no_grad():
        stripped = nncf.strip(quantised, example_input=torch.zeros(1, *source.description.input_shape))
        example = torch.zeros(1, *source.description.input_shape)
        model = openvino.convert_model(stripped, example_input=example, input=[-1, *source.description.input_shape])
    save_openvino(model, int8_description(source.description), path)
