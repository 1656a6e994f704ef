"""Deployed files in the place of checkpoints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ckdmed.bundle.load_weights import load_checkpoint
from ckdmed.bundle.trained import recorded_settings
from ckdmed.deployed_network import read_description, run_deployed
from ckdmed.engines import load_network
from ckdmed.recipes import mask_evaluator
from ckdmed.runtime import DeployedFileError, open_form
from ckdmed.runtime.description import Description
from tests.runtime.tiny_forms import SEGMENTATION, write_tiny

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("load", [load_checkpoint, load_network])
def test_a_network_computes_with_the_file(tmp_path, load):
    path = write_tiny(tmp_path / "model.onnx")
    network = load(nn.Conv2d(1, 1, 1), str(path))
    images = torch.rand(2, 1, 48, 48)
    np.testing.assert_array_equal(network(images).numpy(), open_form(path)(images.numpy()))


def test_its_regions_are_those_of_a_network_whose_regions_exclude_each_other(tmp_path):
    network = run_deployed(nn.Conv2d(1, 2, 1), write_tiny(tmp_path / "model.onnx"))
    assert mask_evaluator(network, [], torch.device("cpu"), exclusive=True).network is network
    assert mask_evaluator(nn.Conv2d(1, 2, 1), [], torch.device("cpu"), exclusive=True).network is not network


def test_the_settings_of_the_training_are_read_from_the_file(tmp_path):
    # with what the file says of the predictions, and what was so before there was a choice
    told = {**SEGMENTATION.settings, "threshold": 0.3, "tta": True, "scaling": "percentiles", "clahe": False}
    assert recorded_settings(write_tiny(tmp_path / "model.onnx")) == told
    # made of a bundle that has a threshold of its own
    other = replace(SEGMENTATION, settings={**SEGMENTATION.settings, "threshold": 0.6, "tta": False})
    assert recorded_settings(write_tiny(tmp_path / "other.onnx", other)) == told


def test_torchscript_with_a_description(tmp_path):
    scripted = torch.jit.script(nn.Conv2d(1, 1, 1))
    path = tmp_path / "model.ts"
    torch.jit.save(scripted, str(path), _extra_files={"ckdmed.json": SEGMENTATION.to_text()})
    assert read_description(path) == SEGMENTATION
    images = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(run_deployed(nn.Conv2d(1, 1, 1), path)(images), scripted(images))
    torch.jit.save(scripted, str(path))
    with pytest.raises(DeployedFileError, match="has no ckdmed description"):
        read_description(path)


def test_torchscript_that_is_damaged_or_another_network_is_refused(tmp_path):
    scripted = torch.jit.script(nn.Conv2d(1, 1, 8))
    path = tmp_path / "model.ts"
    torch.jit.save(scripted, str(path), _extra_files={"ckdmed.json": SEGMENTATION.to_text()})
    content = bytearray(path.read_bytes())
    content[content.find(scripted.weight.detach().numpy().tobytes()) + 3] ^= 0x40
    (tmp_path / "damaged.ts").write_bytes(content)
    torch.jit.load(str(tmp_path / "damaged.ts"))
    with pytest.raises(DeployedFileError, match="damaged.ts: cannot be opened.*checksum of its entry"):
        read_description(tmp_path / "damaged.ts")
    torch.jit.save(
        torch.jit.script(nn.Conv2d(1, 2, 1)), str(path), _extra_files={"ckdmed.json": SEGMENTATION.to_text()}
    )
    with pytest.raises(DeployedFileError, match="model.ts: its description does not match its network.*gives 2"):
        run_deployed(nn.Conv2d(1, 1, 1), path)(torch.rand(1, 1, 8, 8))


def test_a_description_keeps_the_order_of_regions() -> None:
    regions = {"rim": [1], "core": [2]}
    whole = replace(SEGMENTATION, outputs=tuple(regions), settings={"regions": regions})
    read = Description.from_text(whole.to_text(), "x")
    assert list(read.settings["regions"]) == list(read.outputs) == ["rim", "core"]
