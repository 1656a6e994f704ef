"""Which layers int8 harms most: those that stay in float32 where a form fails its gate."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ckdmed.deploy.float_forms import FormError, quiet
from ckdmed.deploy.int8_forms import layers_of, prepared_for_int8, quantise_onnx

__all__ = ["layer_errors", "sensitive_layers"]

# of the summed errors, what the layers that stay in float32 account for
_EXPLAINED = 0.9
# of all layers, as each of them costs time
_MOST = 0.1
# half to calibrate with, half to measure on
_IMAGES = 16


def sensitive_layers(errors: Mapping[str, float]) -> list[str]:
    """The fewest layers that cause nine tenths of the error, the worst first; a tenth of all layers at most.

    Args:
        errors: of `layer_errors`.
    """
    worst = sorted(errors, key=lambda name: -errors[name])
    total, found = sum(errors.values()), 0.0
    chosen: list[str] = []
    for name in worst[: max(1, int(_MOST * len(worst)))]:
        if found >= _EXPLAINED * total:
            break
        chosen.append(name)
        found += errors[name]
    return chosen


def layer_errors(float_file: Path, images: np.ndarray) -> dict[str, float]:
    """The error of the logits with one layer in int8 and all others in float32, for each layer in turn.

    It is their mean squared difference from those of float32, divided by the variance of these. The errors of all
    layers together are about the sum of these, as those of roundings that do not depend on one another.

    Args:
        float_file: written by `write_onnx`.
        images: (N, C, *spatial), N >= 2; 16 of them at most are used, half for the calibration and half to measure.

    Returns:
        layer, see `layers_of` -> error, in the order of the file.

    Raises:
        FormError: there are no such layers, fewer than two images, or ONNX Runtime does not know a part of the network.
    """
    if len(images) < 2:
        raise FormError("one image to calibrate with and one to measure with are needed to find sensitive layers")
    chosen = images[:_IMAGES]
    half = len(chosen) // 2
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantised = Path(folder) / "prepared.onnx", Path(folder) / "quantised.onnx"
        prepared_for_int8(float_file, prepared)
        layers = layers_of(float_file)
        if not layers:
            raise FormError("it has no layers with weights that could stay in float32")
        expected = _logits(prepared, chosen[half:])
        scale = max(float(expected.var()), 1e-6)
        errors: dict[str, float] = {}
        for node, layer in tqdm(layers.items(), desc="sensitive layers", unit="layer", leave=False):
            with quiet():
                quantise_onnx(prepared, chosen[:half], quantised, only=[node])
            error = float(np.mean((_logits(quantised, chosen[half:]) - expected) ** 2)) / scale
            # weights that several nodes share
            errors[layer] = errors.get(layer, 0.0) + error
    return errors


def _logits(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in images])
