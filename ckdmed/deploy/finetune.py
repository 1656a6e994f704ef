"""Training through quantisers: where plain int8 fails, the weights learn to give the float32 network's answers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
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

__all__ = ["finetuned", "train_through_quantisers"]

_BATCH = 4
_LEARNING_RATE = 2e-5
_SEED = 0


def finetuned(
    source: DeploySource, data: BundleData, names: Sequence[str], folder: Path, epochs: int, images: int
) -> list[str]:
    """Write int8 forms again, from weights that were trained through NNCF's quantisers with the float32 network as
    teacher.

    Args:
        source: the network, which is left as it is.
        data: of its bundle; only the training section is used.
        names: some of "onnx-int8" and "openvino-int8".
        folder: of the forms.
        epochs: over the images.
        images: of the training section at most, for calibration and training.

    Returns:
        the forms that were written.

    Raises:
        FormError: NNCF cannot quantise the network in PyTorch.
    """
    inputs = data.calibration(as_function(source.network), images)
    quantised = train_through_quantisers(source.network, inputs, epochs)
    if "openvino-int8" in names:
        _write_openvino(source, quantised, folder / "model-int8.xml")
    if "onnx-int8" in names:
        # ONNX Runtime runs the patterns of its own quantiser fastest; the weights are what the training is for
        network = copy.deepcopy(source.network)
        state = quantised.state_dict()
        network.load_state_dict({name: state[name] for name in network.state_dict()})
        float_file = folder.parent / "finetuned.onnx"
        write_onnx(network.eval(), source.description, float_file)
        write_int8_onnx(float_file, inputs, source.description, folder / "model-int8.onnx")
    return list(names)


def train_through_quantisers(network: nn.Module, inputs: np.ndarray, epochs: int) -> nn.Module:
    """A copy of a network with NNCF's quantisers, whose weights and ranges have learned the network's own logits.

    The loss is the mean squared difference of logits, divided by their variance. Normalisation keeps its statistics.

    Args:
        network: the teacher.
        inputs: (N, C, *spatial).
        epochs: over them, in batches of four, in an order by a fixed seed.

    Raises:
        FormError: NNCF cannot quantise the network.
    """
    import nncf

    teacher = network.eval()
    with quiet():
        try:
            dataset = nncf.Dataset([torch.from_numpy(image[None]) for image in inputs])
            student = nncf.quantize(copy.deepcopy(teacher), dataset, subset_size=len(inputs))
        # what it meets in a network it does not know raises whatever it is
        except Exception as error:
            raise FormError(f"NNCF cannot quantise it for training ({' '.join(str(error).split())[:200]})") from error
    student.eval()
    parameters = [parameter.requires_grad_() for parameter in student.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, weight_decay=0.0)
    order = np.random.default_rng(_SEED)
    for epoch in range(epochs):
        shuffled = inputs[order.permutation(len(inputs))]
        starts = range(0, len(shuffled), _BATCH)
        for start in tqdm(starts, desc=f"quantisers, epoch {epoch + 1} of {epochs}", leave=False):
            batch = torch.from_numpy(shuffled[start : start + _BATCH])
            with torch.no_grad():
                expected = teacher(batch).float()
            loss = functional.mse_loss(student(batch).float(), expected) / expected.var().clamp_min(1e-6)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
    return student.eval()


def _write_openvino(source: DeploySource, quantised: nn.Module, path: Path) -> None:
    import nncf
    import openvino

    with quiet(), torch.no_grad():
        stripped = nncf.strip(quantised, example_input=torch.zeros(1, *source.description.input_shape))
        example = torch.zeros(1, *source.description.input_shape)
        model = openvino.convert_model(stripped, example_input=example, input=[-1, *source.description.input_shape])
    save_openvino(model, int8_description(source.description), path)
