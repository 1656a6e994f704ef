"""Checkpoints that are damaged, or claim more than they hold."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest
import torch

from ckdmed.files import load_weights, save_weights
from ckdmed.limits import MAX_BYTES_VARIABLE
from ckdmed.networks import read_state_dict


def test_no_flipped_bit_of_the_numbers_is_believed(tmp_path: Path) -> None:
    state = {"weight": torch.arange(5000, dtype=torch.float32), "bias": torch.zeros(3)}
    content = save_weights(tmp_path / "good.pt", state).read_bytes()
    path, draw = tmp_path / "flipped.pt", random.Random(0)
    believed = 0
    for _ in range(200):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        for load in (load_weights, read_state_dict):
            try:
                loaded = load(path)
            except ValueError as error:
                assert "flipped.pt" in str(error)
            else:  # in padding or in a field that says nothing of the numbers
                believed += 1
                assert loaded.keys() == state.keys() and all(torch.equal(loaded[key], state[key]) for key in state)
    assert believed < 60


def test_a_damaged_entry_is_named(tmp_path: Path) -> None:
    path = save_weights(tmp_path / "a.pt", {"weight": torch.full((1000,), 3.25)})
    path.write_bytes(path.read_bytes().replace(b"\x00\x00\x50\x40" * 2, b"\x00\x00\x50\x41\x00\x00\x50\x40", 1))
    with pytest.raises(ValueError, match=r"a\.pt'.*checksum of its entry .*/data/0 is wrong"):
        load_weights(path)
    with pytest.raises(ValueError, match=r"a\.pt: .*checksum of its entry"):
        read_state_dict(path)


def test_small_files_that_claim_gigabytes(tmp_path: Path, monkeypatch) -> None:
    wide = save_weights(tmp_path / "wide.pt", {"weight": torch.zeros(1).expand(1 << 20, 1 << 16)})
    for load in (load_weights, read_state_dict):
        with pytest.raises(ValueError, match=r"wide\.pt: its tensors would take 274877906944 bytes.*CKDMED_MAX_BYTES"):
            load(wide)
    for old in (False, True):
        path = tmp_path / f"bytes{old}.pt"
        torch.save({"weight": bytearray(10)}, path, _use_new_zipfile_serialization=not old)
        with pytest.raises(ValueError, match=r"bytes.*\.pt'.*asks for .*bytearray"):
            load_weights(path)
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(save_weights(tmp_path / "zeros.pt", {"weight": torch.zeros(1 << 16)})) as source:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
            for entry in source.infolist():
                target.writestr(entry.filename, source.read(entry))
    with pytest.raises(ValueError, match=r"packed\.pt'.*is compressed"):
        load_weights(packed)
    plain = save_weights(tmp_path / "plain.pt", {"weight": torch.zeros(1 << 16)})
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "100000")
    with pytest.raises(ValueError, match="262144 bytes in memory, but 100000 are allowed"):
        load_weights(plain)


def test_what_training_saves_and_older_files_are_read(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 1, 8, 8)).sum().backward()
    optimizer.step()
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}
    state |= {"half": network[0].weight.detach().bfloat16(), "parameter": network[0].weight, "epoch": 3, "text": "a"}
    for old in (False, True):
        torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
        loaded = load_weights(tmp_path / "a.pt")
        assert loaded["epoch"] == 3 and torch.equal(loaded["half"], state["half"])
        assert torch.equal(loaded["network"]["0.weight"], network[0].weight)
