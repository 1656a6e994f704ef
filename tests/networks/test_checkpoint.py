from __future__ import annotations

import json
import logging
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ckdmed.networks import adapt_input_channels, fill_network, read_state_dict


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))


@pytest.mark.parametrize("container", [None, "state_dict", "model_state_dict", "model", "network", "student"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_containers_and_prefixes_are_taken_off(tmp_path: Path, container: str | None, prefix: str) -> None:
    state = {prefix + name: value for name, value in network().state_dict().items()}
    file = tmp_path / "weights.pt"
    torch.save(state if container is None else {"epoch": 3, container: state}, file)
    assert set(read_state_dict(file)) == set(network().state_dict())


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere.pt: there is no such checkpoint file"):
        read_state_dict(tmp_path / "nowhere.pt")


def test_truncated_file(tmp_path: Path) -> None:
    file = tmp_path / "half.pt"
    torch.save(network().state_dict(), file)
    file.write_bytes(file.read_bytes()[:600])
    with pytest.raises(ValueError, match="half.pt: not a readable PyTorch checkpoint"):
        read_state_dict(file)


@settings(deadline=None, max_examples=20)
@given(content=st.binary(max_size=64))
def test_any_bytes_give_one_kind_of_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("junk") / "junk.pt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="junk.pt"):
        read_state_dict(file)


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    file, sprung = tmp_path / "trap.pt", tmp_path / "sprung"
    torch.save({"weight": torch.zeros(1), "trap": Trap(sprung)}, file)
    with pytest.raises(ValueError, match=r"trap.pt.*save network.state_dict\(\) instead"):
        read_state_dict(file)
    assert not sprung.exists()


def test_file_without_tensors(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(ValueError, match="empty.pt: holds no state dict"):
        read_state_dict(tmp_path / "empty.pt")


def write_safetensors(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """The format as its specification has it: length of the header, header, numbers."""
    names = {torch.float32: "F32", torch.float16: "F16", torch.int64: "I64"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    numbers = b""
    for name, value in tensors.items():
        data = value.contiguous().numpy().tobytes()
        offsets = [len(numbers), len(numbers) + len(data)]
        header[name] = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": offsets}
        numbers += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers)
    return path


def test_safetensors_are_read(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.randn(2, 3), "b": torch.randn(4).half(), "n": torch.tensor(7)}
    found = read_state_dict(write_safetensors(tmp_path / "weights.safetensors", tensors))
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value)


def test_damaged_safetensors_are_named(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "weights.safetensors", {"a": torch.zeros(4)})
    whole = path.read_bytes()
    damaged = (whole[:5], whole[:20], whole[:-4], whole.replace(b"[4]", b"[9]"), whole.replace(b"F32", b"X32"))
    for data in (*damaged, whole.replace(b"{", b"\xff", 1)):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="weights.safetensors: (not a readable|its|not a safetensors)"):
            read_state_dict(path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_diverged_weights(tmp_path: Path, bad: float) -> None:
    state = network().state_dict()
    state["3.bias"][2] = bad
    torch.save(state, tmp_path / "diverged.pt")
    with pytest.raises(ValueError, match="diverged.pt: tensor 3.bias holds a NaN or an infinity"):
        read_state_dict(tmp_path / "diverged.pt")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_equal_channels_get_the_response_of_the_old_filters(channels: int) -> None:
    weight = torch.randn(5, 3, 3, 3)
    grey = torch.rand(2, 1, 8, 8)
    expected = torch.conv2d(grey.expand(-1, 3, -1, -1), weight)
    adapted = adapt_input_channels(weight, channels)
    assert adapted.shape == (5, channels, 3, 3)
    torch.testing.assert_close(torch.conv2d(grey.expand(-1, channels, -1, -1), adapted), expected)


def test_report_counts_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    target = network()
    before = target[3].weight.clone()
    tensors = {
        "0.weight": torch.full((4, 1, 3, 3), 3.0),  # another number of input channels
        "0.bias": torch.full((4,), 2.0),
        "1.weight": torch.full((4,), 5.0),
        "1.running_mean": torch.full((4,), 7.0),
        "3.weight": torch.zeros(9, 16),  # another number of classes
        "3.bias": torch.zeros(9),
        "extra": torch.zeros(1),
    }
    with caplog.at_level(logging.INFO, logger="ckdmed"):
        report = fill_network(
            target, tensors, "file.pt", "own", input_weight="0.weight", heads=("3.weight", "3.bias"), min_share=0.6
        )
    assert report.matched == ("0.bias", "1.weight", "1.running_mean")
    assert set(report.adapted) == {"0.weight"} and "1 input channels to 3" in report.adapted["0.weight"]
    assert set(report.kept) == {"3.weight", "3.bias"} and "[9, 16]" in report.kept["3.weight"]
    assert report.missing == ("1.bias", "1.running_var")
    assert report.unexpected == ("extra",)
    # convolution 108 + 4, norm 4 + 4 of 16; the head of another size does not count
    assert (report.matched_elements, report.total_elements) == (120, 128)
    assert report.share == pytest.approx(0.9375)
    assert (report.matched_tensors, report.total_tensors) == (4, 6)
    for part in (
        "file.pt (own layout): 93.8% of the network's 128 numbers and 66.7% of its 6 tensors",
        "adapted 0.weight",
        "1.bias, 1.running_var",
        "extra",
    ):
        assert part in str(report) and part in caplog.text
    assert torch.equal(target[0].weight, torch.ones(4, 3, 3, 3))
    assert torch.equal(target[1].running_mean, torch.full((4,), 7.0))
    assert torch.equal(target[3].weight, before)


def test_refused_file_names_examples_and_changes_nothing() -> None:
    target = network()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    tensors = {"0.bias": torch.full((4,), 9.0), "1.weight": torch.zeros(6), "stem.weight": torch.zeros(3)}
    with pytest.raises(
        ValueError,
        match=r"file.pt: fills 1.9% .*at least 90% of either is needed.*1.weight \(the file has \[6\].*stem",
    ):
        fill_network(target, tensors, "file.pt", "own")
    for name, value in target.state_dict().items():
        assert torch.equal(value, before[name])


def test_threshold_is_the_callers() -> None:
    report = fill_network(network(), {"0.weight": torch.zeros(4, 3, 3, 3)}, "file.pt", "own", min_share=0.1)
    assert report.share == pytest.approx(108 / (112 + 16 + 85)) and report.tensor_share == 1 / 8


def test_one_large_tensor_is_not_a_match() -> None:
    target = nn.Sequential(nn.Linear(50, 50), nn.Linear(50, 1), nn.Linear(1, 1))
    with pytest.raises(ValueError, match="fills 98.0% of the network's numbers and 33.3% of its tensors"):
        fill_network(target, {"0.weight": torch.zeros(50, 50), "0.bias": torch.zeros(50)}, "file.pt", "own")


def test_half_precision_file_fills_a_float_network() -> None:
    source, target = network(), network()
    halves = {n: v.half() if v.is_floating_point() else v for n, v in source.state_dict().items()}
    assert fill_network(target, halves, "file.pt", "own").share == 1.0
    assert target[0].weight.dtype == torch.float32
    assert torch.equal(target[0].weight, source[0].weight.half().float())
