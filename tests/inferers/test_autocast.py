"""AutocastInferer."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.inferers import SimpleInferer, SlidingWindowInferer
from monai.networks.nets import UNet
from torch import nn

from ckdmed.inferers import AutocastInferer, ChannelsInferer, amp_dtype, autocast_dtype, precision, precision_of
from ckdmed.inferers.flips import FlipAverageInferer


def _net(spatial_dims: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return UNet(spatial_dims, 1, 1, channels=(4, 8), strides=(2,), num_res_units=1)


class _Spy(nn.Module):
    """Records what arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.seen: dict[str, Any] = {}

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> Any:
        y = self.conv(x) * scale
        self.seen = {"type": type(x), "channels_last": x.is_contiguous(memory_format=torch.channels_last)}
        self.seen["inside"] = y.dtype
        return {"out": y, "pair": (y, y.argmax(1)), "name": "spy"}


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_close_to_float32_and_returns_float32(spatial_dims: int) -> None:
    net, x = _net(spatial_dims), torch.rand(2, 1, *(16,) * spatial_dims)
    full, low = net(x), AutocastInferer(amp="bf16")(x, net)
    assert low.dtype == torch.float32 and not torch.equal(low, full)
    # bfloat16 keeps 8 bits; a handful of layers add up to a few per cent of the spread, how many depends on the CPU.
    assert (low - full).abs().max() < 0.1 * full.std() + 0.02


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_full_precision_changes_the_memory_format_alone(norm: str) -> None:
    torch.manual_seed(0)
    net = UNet(2, 1, 1, channels=(4, 8), strides=(2,), num_res_units=1, norm=norm).eval()
    x = MetaTensor(torch.rand(2, 1, 16, 16), meta={"patient": ["a", "b"]})
    before = {name: value.clone() for name, value in net.state_dict().items()}
    wanted = SimpleInferer()(x, net)
    out = AutocastInferer(amp=False)(x, net)
    assert isinstance(out, MetaTensor) and out.meta["patient"] == ["a", "b"]
    torch.testing.assert_close(out.as_tensor(), wanted.as_tensor())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    kernels = [value for value in net.parameters() if value.ndim == 4 and value[0].numel() > 9 and value.shape[1] > 1]
    # instance normalisation is slower in channels-last
    assert all(v.is_contiguous(memory_format=torch.channels_last) == (norm == "batch") for v in kernels)
    spy = _Spy()
    AutocastInferer(amp=False)(MetaTensor(torch.rand(2, 2, 8, 8)), spy)
    assert spy.seen == {"type": torch.Tensor, "channels_last": True, "inside": torch.float32}


class _Projection(nn.Module):
    """A residual unit's shortcut, after channels-last weights as a bundle's configuration may give them."""

    def __init__(self, in_channels: int, stride: int = 2, groups: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, in_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, 16, 1, stride=stride, groups=groups)
        self.channels_last = True
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.first(x)
        self.channels_last = features.is_contiguous(memory_format=torch.channels_last)
        return self.shortcut(features)


@pytest.mark.parametrize("amp", [False, "bf16"])
@pytest.mark.parametrize(
    ("network", "channels_last"),
    [
        (_Projection(4), False),
        (_Projection(15), False),
        (_Projection(16), True),
        (_Projection(32, groups=4), False),
        (_Projection(4, stride=1), True),
    ],
)
def test_narrow_strided_projections_are_computed_in_the_contiguous_format(network, channels_last, amp) -> None:
    AutocastInferer(amp=amp)(torch.rand(2, 1, 8, 8), network)
    assert network.channels_last == channels_last


@pytest.mark.slow
def test_gradients_of_narrow_strided_projections() -> None:
    # the fault that it keeps from kills the process
    code = """
        import torch
        from ckdmed.inferers import AutocastInferer
        from ckdmed.networks.cohra_unet import CohraUNet
        torch.manual_seed(0)
        network, image = CohraUNet(2, 4, 3, features=(4, 8, 16), heads=2), torch.rand(2, 4, 32, 32)
        wanted, found = [], []
        runs = {"plain": lambda: network(image), "inferer": lambda: AutocastInferer(amp=False)(image, network)}
        for gradients, name in ((wanted, "plain"), (found, "inferer")):
            network.zero_grad()
            runs[name]().square().mean().backward()
            gradients += [p.grad.clone() for p in network.parameters()]
        for one, other in zip(wanted, found):
            torch.testing.assert_close(one, other)
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def test_a_processor_without_bfloat16_computes_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_processor_has_bf16", lambda: False)
    spy = _Spy()
    AutocastInferer()(torch.rand(2, 2, 8, 8), spy)
    assert spy.seen["inside"] == torch.float32
    AutocastInferer(amp="bf16")(torch.rand(2, 2, 8, 8), spy)
    assert spy.seen["inside"] == torch.bfloat16


def test_what_the_network_sees() -> None:
    spy, x = _Spy(), MetaTensor(torch.rand(2, 2, 8, 8), meta={"patient": ["a", "b"]})
    out = AutocastInferer(amp="bf16")(x, spy, scale=3.0)
    assert spy.seen == {"type": torch.Tensor, "channels_last": True, "inside": torch.bfloat16}
    assert spy.conv.weight.dtype == torch.float32
    assert spy.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert out["name"] == "spy" and isinstance(out["pair"], tuple)
    assert out["out"].dtype == torch.float32 and out["pair"][1].dtype == torch.int64
    assert isinstance(out["out"], MetaTensor) and out["out"].meta["patient"] == ["a", "b"]
    expected = 3 * nn.functional.conv2d(x.as_tensor(), spy.conv.weight, spy.conv.bias, padding=1)
    torch.testing.assert_close(out["out"].as_tensor(), expected, atol=0.05, rtol=0.02)


class _Record(NamedTuple):
    logits: torch.Tensor
    features: dict[str, torch.Tensor]


def test_records_keep_their_type_and_stay_plain() -> None:
    conv = nn.Conv2d(1, 2, 1)
    out = AutocastInferer(amp="bf16")(MetaTensor(torch.rand(2, 1, 8, 8)), lambda x: _Record(conv(x), {"d1": conv(x)}))
    assert isinstance(out, _Record)
    for tensor in (out.logits, out.features["d1"]):
        assert type(tensor) is torch.Tensor and tensor.dtype == torch.float32


def test_plain_tensors_stay_plain_and_functions_serve_as_networks() -> None:
    x = torch.rand(2, 1, 8, 8)
    out = AutocastInferer()(x, lambda batch: 2 * batch)
    assert type(out) is torch.Tensor
    torch.testing.assert_close(out, 2 * x)


def test_inputs_without_a_channels_last_form() -> None:
    net = nn.Linear(8, 3)
    out = AutocastInferer()(torch.rand(5, 8), net)
    assert out.shape == (5, 3) and out.dtype == torch.float32


def test_gradients_flow_to_float32_weights() -> None:
    net, x = _net(), torch.rand(4, 1, 16, 16)
    names, parameters = list(net.state_dict()), list(net.parameters())
    net(x).square().mean().backward()
    full = [p.grad.clone() for p in parameters if p.grad is not None]
    net.zero_grad()
    AutocastInferer(amp="bf16")(MetaTensor(x), net).square().mean().backward()
    low = [p.grad for p in parameters if p.grad is not None]
    assert len(full) == len(low) == len(parameters)
    a, b = (torch.cat([g.flatten() for g in gs]) for gs in (full, low))
    assert b.dtype == torch.float32
    assert nn.functional.cosine_similarity(a, b, dim=0) > 0.99
    assert names == list(net.state_dict()) and all(p is q for p, q in zip(parameters, net.parameters()))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_sliding_window_inside(spatial_dims: int) -> None:
    net, x = _net(spatial_dims).eval(), MetaTensor(torch.rand(1, 1, *(24,) * spatial_dims), meta={"patient": "a"})
    sliding = SlidingWindowInferer((16,) * spatial_dims, sw_batch_size=2, overlap=0.5, mode="gaussian")
    with torch.no_grad():
        full, low = sliding(x, net), AutocastInferer(sliding, amp="bf16")(x, net)
    assert low.dtype == torch.float32 and low.shape == full.shape and low.meta["patient"] == "a"
    assert (low - full).abs().max() < 0.05 * full.std() + 0.02


def test_in_the_engines() -> None:
    rng = np.random.default_rng(0)
    items = [{"image": MetaTensor(rng.random((1, 16, 16), dtype=np.float32))} for _ in range(4)]
    items = [{**item, "label": (item["image"] > 0.5).float()} for item in items]
    loader, net = DataLoader(Dataset(items), batch_size=2), _net()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    losses: list[float] = []
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=8,
        train_data_loader=loader,
        network=net,
        optimizer=torch.optim.Adam(net.parameters(), 1e-2),
        loss_function=nn.BCEWithLogitsLoss(),
        inferer=AutocastInferer(amp="bf16"),
    )
    trainer.add_event_handler("ITERATION_COMPLETED", lambda e: losses.append(float(e.state.output[0]["loss"])))
    trainer.run()
    assert np.mean(losses[-2:]) < 0.9 * np.mean(losses[:2])
    assert any(not torch.equal(v, before[k]) for k, v in net.state_dict().items())
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"), val_data_loader=loader, network=net, inferer=AutocastInferer(amp="bf16")
    )
    evaluator.run()
    assert evaluator.state.output[0]["pred"].dtype == torch.float32


def test_checkpoint_loads_into_the_plain_network(tmp_path: Any) -> None:
    net, x = _net(), torch.rand(1, 1, 16, 16)
    AutocastInferer(amp="bf16")(x, net)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    fresh = UNet(2, 1, 1, channels=(4, 8), strides=(2,), num_res_units=1)
    fresh.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True), strict=True)
    torch.testing.assert_close(fresh(x), net(x))


@pytest.mark.parametrize("amp", ["float32", "half", "true"])
def test_bad_words(amp: Any) -> None:
    with pytest.raises(ValueError, match="amp must be true, false, bf16 or fp16, got"):
        AutocastInferer(amp=amp)


def test_half_precision() -> None:
    spy, x = _Spy(), torch.rand(2, 2, 8, 8)
    out = AutocastInferer(amp="fp16")(x, spy)
    assert spy.seen["inside"] == torch.float16 and out["out"].dtype == torch.float32


def test_what_the_device_has(monkeypatch: pytest.MonkeyPatch) -> None:
    class _Guard:
        def __init__(self, device: Any) -> None: ...
        def __enter__(self) -> None: ...
        def __exit__(self, *args: Any) -> None: ...

    monkeypatch.setattr(torch.cuda, "device", _Guard)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    for bf16 in (False, True):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation
        )
        assert amp_dtype(True, "cuda:0") == (torch.bfloat16 if bf16 else torch.float16)
        assert amp_dtype("fp16", "cuda:0") == torch.float16 and amp_dtype(False, "cuda:0") is None
        if bf16:
            assert amp_dtype("bf16", "cuda:0") == torch.bfloat16
        else:
            with pytest.raises(
                RuntimeError, match=r"cuda:0 \(Old GPU\) does not support bfloat16: set amp to fp16, or to true"
            ):
                amp_dtype("bf16", "cuda:0")
    for has, automatic in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("ckdmed.inferers.precision._processor_has_bf16", lambda: has)
        names = {amp: precision_of(amp, "cpu") for amp in (False, None, True, "bf16", "fp16")}
        assert list(names.values()) == ["float32", "float32", automatic, "bfloat16", "float16"]


def test_a_processor_without_bfloat16_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ckdmed.inferers.precision._processor_has_bf16", lambda: False)
    precision._tell.cache_clear()
    with caplog.at_level("INFO"):
        for _ in range(2):
            assert amp_dtype(True, "cpu") is None and amp_dtype("bf16", "cpu") == torch.bfloat16
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "--amp true computes in full precision" in caplog.text and "slower than --amp false" in caplog.text
    precision._tell.cache_clear()


def test_what_a_processor_has_is_asked_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
    for avx, amx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
        assert precision._processor_has_bf16() == (avx or amx)
    monkeypatch.setattr(precision.platform, "machine", lambda: "aarch64")
    assert precision._processor_has_bf16()


def test_the_type_is_found_in_inferers_that_wrap_it() -> None:
    inner = AutocastInferer(amp="fp16")
    assert autocast_dtype(ChannelsInferer([0], FlipAverageInferer(inner)), "cpu") == torch.float16
    assert autocast_dtype(AutocastInferer(SimpleInferer(), amp=False), "cpu") is None
    assert autocast_dtype(SimpleInferer(), "cpu") is None and autocast_dtype(None, "cpu") is None


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    net, x = _net().cuda(), MetaTensor(torch.rand(2, 1, 16, 16)).cuda()
    full, low = net(x), AutocastInferer()(x, net)
    assert low.dtype == torch.float32 and low.is_cuda
    assert (low - full).abs().max() < 0.05 * full.std() + 0.02
