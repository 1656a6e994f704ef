"""Training through quantisers does something, and the right thing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.deploy.deploying import DeployOptions, deploy
from ckdmed.deploy.finetune import train_through_quantisers
from ckdmed.deploy.float_forms import FormError
from tests.deploy.test_deploy import deployed
from tests.export.tiny import write_checkpoint


class Small(nn.Module):
    """A network that int8 changes visibly: its channels differ in range by three orders of magnitude."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6()),
            *(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6()),
            nn.Conv2d(8, 1, 1),
        )
        with torch.no_grad():
            for layer in (self.layers[1], self.layers[4]):
                layer.weight.copy_(torch.logspace(-1.5, 1.5, 8))
                layer.bias.copy_(torch.linspace(-1, 1, 8))
        self.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


def images(count: int = 8) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 1, 32, 32)).astype(np.float32)


@pytest.fixture
def nncf(monkeypatch: pytest.MonkeyPatch) -> None:
    """NNCF without its extension, which it compiles first; the same computation in PyTorch is enough here."""
    pytest.importorskip("nncf")
    from nncf.torch.quantization import extensions
    from nncf.torch.quantization.reference import ReferenceQuantizedFunctions

    monkeypatch.setattr(extensions.QuantizedFunctionsCPU, "_loaded_namespace", ReferenceQuantizedFunctions)
    # the reference would compile itself too
    monkeypatch.setattr(torch, "compile", lambda function: function)


@pytest.mark.slow
def test_the_weights_learn_the_answers_of_the_float_network(nncf):
    network, inputs = Small(), images()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained = train_through_quantisers(network, inputs, 12)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    state = trained.network.state_dict()
    changed = [name for name in before if not torch.equal(state[name], before[name])]
    assert {f"layers.{number}.weight" for number in (0, 3, 6)} <= set(changed) and not any("running" in name for name in changed)
    assert trained.losses[-1] < 0.8 * trained.losses[0]
    assert 0 < trained.after < 0.8 * trained.before
    # on images that it has not seen too
    new = torch.from_numpy(np.random.default_rng(1).normal(size=(4, 1, 32, 32)).astype(np.float32))
    untrained = train_through_quantisers(network, inputs, 0)
    assert untrained.losses == [] and untrained.after == untrained.before == trained.before
    with torch.no_grad():
        expected = network(new)
        errors = [float((each.network(new) - expected).square().mean()) for each in (trained, untrained)]
    assert errors[0] < errors[1]


@pytest.mark.slow
def test_it_is_repeatable_and_leaves_the_environment(nncf, monkeypatch):
    monkeypatch.delenv("NNCF_EXTENSION_LOAD_TIMEOUT", raising=False)
    first, second = (train_through_quantisers(Small(), images(4), 2) for _ in range(2))
    assert first.losses == second.losses and "NNCF_EXTENSION_LOAD_TIMEOUT" not in os.environ


@pytest.mark.slow
def test_int8_that_fails_is_trained_written_and_judged_again(tmp_path: Path):
    pytest.importorskip("nncf")
    checkpoint = write_checkpoint(tmp_path / "weights/model.pt", "seg_kd")
    phantoms = tmp_path / "phantoms"
    write_figshare_phantoms(phantoms, n_patients=8, size=48, progress=False)
    # limits that nothing quantised keeps
    words = ["--mean_drop", "0", "--worst_drop", "0", "--changed", "0", "--calibration", "4", "--finetune", "2"]
    words += ["--no_timing", "--formats", "onnx-int8", "openvino-int8"]
    record = deployed(checkpoint, phantoms, tmp_path / "deployed", *words)
    failed = [form for form in record["forms"] if form["finetuned"]]
    assert failed, json.dumps(record["forms"])
    for form in failed:
        assert form["written"] and form["logit_errors"][1] < form["logit_errors"][0]
        assert form["changes"] != form["before_finetuning"]


def test_where_it_cannot_be_trained_the_forms_stay_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from ckdmed.deploy import deploying
    from tests.runtime.tiny_forms import write_tiny

    pytest.importorskip("onnxruntime")

    def refused(*_: object) -> None:
        raise FormError("NNCF cannot quantise it for training (no)")

    monkeypatch.setattr(deploying, "finetuned", refused)
    monkeypatch.setattr(deploying, "write_onnx", lambda network, text, path: write_tiny(path, text))
    monkeypatch.setattr(deploying, "write_int8_onnx", lambda file, images, text, path: write_tiny(path, text))
    write_figshare_phantoms(tmp_path / "phantoms", n_patients=8, size=48, progress=False)
    checkpoint = write_checkpoint(tmp_path / "weights/model.pt", "seg_kd")
    said: list[str] = []
    options = DeployOptions(
        ("onnx-int8",), str(tmp_path / "phantoms"), calibration=1, held_out=1, finetune=1, measure=False
    )
    result = deploy("seg_kd", tmp_path / "out", options, str(checkpoint), said.append)
    (form,) = result.forms
    assert not form.written and form.reasons and form.finetuned == 0
    assert "NNCF cannot quantise it for training (no); the forms stay as they were" in said
