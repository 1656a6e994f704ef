"""The roofline of benchmarks/step_speed.py, by hand."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

SOURCE = Path(__file__).resolve().parent.parent / "benchmarks/roofline.py"


@pytest.fixture(scope="module")
def roofline() -> ModuleType:
    spec = spec_from_file_location("roofline", SOURCE)
    module = module_from_spec(spec)
    # dataclasses look their module up
    sys.modules["roofline"] = module
    spec.loader.exec_module(module)
    return module


def test_a_convolution_and_its_gradients(roofline: ModuleType) -> None:
    layer, image = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.rand(2, 3, 16, 16, requires_grad=True)
    found = {one.name: one for one in roofline.operations_of(lambda: layer(image).sum().backward())}
    pixels, kernel = 2 * 16 * 16, 3 * 8 * 9
    forward, backward = found["aten.convolution.default"], found["aten.convolution_backward.default"]
    assert (forward.flops, forward.moved) == (2 * pixels * kernel, 4 * (pixels * 3 + kernel + pixels * 8))
    # the gradient of a sum is one expanded value
    assert (backward.flops, backward.moved) == (4 * pixels * kernel, 4 * (1 + 2 * (pixels * 3 + kernel)))
    assert forward.dtype == torch.float32
    assert found["aten.sum.default"].flops == 0


def test_views_move_nothing_and_what_is_written_in_place_is_read_and_written(roofline: ModuleType) -> None:
    x, y = torch.rand(4, 6), torch.rand(4, 6)
    assert roofline.operations_of(lambda: x.t()[:2].view(-1, 1, 4)) == []
    (added,) = roofline.operations_of(lambda: x.add_(y))
    assert added.moved == 4 * 24 * 3
    (product,) = roofline.operations_of(lambda: x.t() @ y)
    assert (product.flops, product.moved) == (2 * 6 * 4 * 6, 4 * (24 + 24 + 36))


def test_seconds_are_the_larger_of_computing_and_moving(roofline: ModuleType) -> None:
    made = roofline.Operation
    operations = [
        made("much to compute", torch.float32, 600, 10),
        made("much to move", torch.float32, 10, 500),
        made("half", torch.bfloat16, 600, 10),
        made("of another type", torch.float64, 300, 0),
    ]
    rates = {torch.float32: 100.0, torch.bfloat16: 300.0}
    assert roofline.roofline_seconds(operations, rates, 50.0) == pytest.approx(6 + 10 + 2 + 3)
