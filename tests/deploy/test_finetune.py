"""Training through quantisers does something, and the right thing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.deploy import finetune
from ckdmed.deploy.deploying import DeployOptions, deploy
from ckdmed.deploy.finetune import ThroughQuantisers, train_through_quantisers
from ckdmed.deploy.float_forms import FormError
from tests.deploy.test_deploy import deployed
from tests.export.tiny import config, sizes_of, write_checkpoint


class Small(nn.Module):
    """A network of eight layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for number in range(8):
            layer = nn.Conv2d(8 if number else 1, 8, 3, padding=1)
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, 0.0, 0.1)
            layers += [layer, nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(8), nn.Conv2d(8, 1, 1))
        self.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


def images(count: int = 8) -> np.ndarray:
    """One pixel is far from the others: the ranges that plain int8 takes from it are too wide for all of these."""
    values = np.random.default_rng(0).normal(size=(count, 1, 16, 16)).astype(np.float32)
    values[0, 0, 0, 0] = 40
    return values


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
    trained = train_through_quantisers(network, inputs, 30)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    state = trained.network.state_dict()
    changed = [name for name in before if not torch.equal(state[name], before[name])]
    assert {"layers.0.weight", "layers.8.weight", "layers.17.weight"} <= set(changed)
    assert not any("running" in name for name in changed)
    assert trained.losses[-1] < 0.95 * trained.losses[0]
    assert 0 < trained.after < 0.9 * trained.before
    # the network that is given back is the one whose error is told
    expected, got = (answers(each, inputs) for each in (network, trained.network))
    assert trained.after == pytest.approx(float((got - expected).square().mean() / expected.var()), rel=1e-4)


@pytest.mark.slow
def test_a_training_that_spoils_the_weights_gives_those_from_before(nncf, monkeypatch):
    monkeypatch.setattr(finetune, "_LEARNING_RATE", 1.0)
    trained = train_through_quantisers(Small(), images(), 1)
    assert trained.losses[0] > trained.before and trained.after == trained.before
    untrained = train_through_quantisers(Small(), images(), 0)
    assert untrained.losses == [] and untrained.after == untrained.before == trained.before
    assert torch.equal(answers(trained.network, images()), answers(untrained.network, images()))


@pytest.mark.slow
def test_layers_that_stay_in_float32_have_no_quantisers(nncf):
    network, inputs = Small(), images()
    some, none = (train_through_quantisers(network, inputs, 0, layers) for layers in (["layers.0"], []))
    assert 0 < some.before < none.before
    every = [f"layers.{number}" for number in range(18)]
    assert train_through_quantisers(network, inputs, 0, every).before == 0


def answers(network: nn.Module, inputs: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return network(torch.from_numpy(inputs))


@pytest.mark.slow
def test_it_is_repeatable_and_leaves_the_environment(nncf, monkeypatch):
    monkeypatch.delenv("NNCF_EXTENSION_LOAD_TIMEOUT", raising=False)
    first, second = (train_through_quantisers(Small(), images(4), 2) for _ in range(2))
    assert first.losses == second.losses and "NNCF_EXTENSION_LOAD_TIMEOUT" not in os.environ


def at_the_threshold(checkpoint: Path) -> None:
    """Rescale the head of a random network to logits of mean 0 and deviation 1, so that rounding changes its masks."""
    parser = ConfigParser()
    parser.read_config(config("seg_kd", "inference.json"))
    parser.update(sizes_of("seg_kd"))
    network = parser.get_parsed_content("network_def").eval()
    state = torch.load(checkpoint, weights_only=True)
    network.load_state_dict(state)
    generator = torch.Generator().manual_seed(0)
    logits = answers(network, torch.rand(4, 1, 32, 32, generator=generator).numpy())
    bias = [name for name in state if name.endswith("bias")][-1]
    weight = bias.replace("bias", "weight")
    state[bias] = (state[bias] - logits.mean()) / logits.std()
    state[weight] = state[weight] / logits.std()
    torch.save(state, checkpoint)


@pytest.mark.slow
def test_int8_that_fails_is_trained_written_and_judged_again(tmp_path: Path):
    pytest.importorskip("nncf")
    pytest.importorskip("torchao")
    checkpoint = write_checkpoint(tmp_path / "weights/model.pt", "seg_kd")
    phantoms = tmp_path / "phantoms"
    write_figshare_phantoms(phantoms, n_patients=8, size=48, progress=False)
    at_the_threshold(checkpoint)
    # limits that nothing quantised keeps where pixels lie at the threshold
    words = ["--mean_drop", "0", "--worst_drop", "0", "--changed", "0", "--finetune", "20"]
    # with more images layers would stay in float32, which is enough here
    words += ["--calibration", "1"]
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

    monkeypatch.setattr(deploying, "_check_packages", lambda options: None)
    monkeypatch.setattr(deploying, "finetuned", refused)
    monkeypatch.setattr(deploying, "write_onnx", lambda network, text, path: write_tiny(path, text))
    monkeypatch.setattr(deploying, "write_int8_onnx", lambda file, images, text, path, *layers: write_tiny(path, text))
    write_figshare_phantoms(tmp_path / "phantoms", n_patients=8, size=48, progress=False)
    checkpoint = write_checkpoint(tmp_path / "weights/model.pt", "seg_kd")
    said: list[str] = []
    options = DeployOptions(
        ("onnx-int8",), str(tmp_path / "phantoms"), calibration=1, held_out=1, finetune=1, measure=False
    )
    result = deploy("seg_kd", tmp_path / "out", options, str(checkpoint), said.append)
    (form,) = result.forms
    assert not form.written and form.reasons and form.finetuned == 0
    assert "NNCF cannot quantise it for training (no); the forms remain as they were" in said
    # one image cannot both calibrate and measure
    assert any(line.endswith("to find sensitive layers; all layers stay in int8") for line in said)


def test_no_form_is_replaced_where_another_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    network = Small()
    trained = ThroughQuantisers(network, [0.1], 0.2, 0.1)
    source: Any = SimpleNamespace(network=network, description=None)
    data: Any = SimpleNamespace(calibration=lambda run, count: images(count))
    replaced: list[str] = []

    def refused(*_: object) -> None:
        raise FormError("it cannot be exported to ONNX (no)")

    monkeypatch.setattr(finetune, "train_through_quantisers", lambda *given: trained)
    monkeypatch.setattr(finetune, "write_onnx", refused)
    monkeypatch.setattr(finetune, "_write_openvino", lambda *given: replaced.append("openvino"))
    with pytest.raises(FormError, match="cannot be exported"):
        finetune.finetuned(source, data, ["openvino-int8", "onnx-int8"], tmp_path / "forms", 1, 2)
    # it was judged as it is
    assert not replaced
