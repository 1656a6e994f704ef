"""A run with components of one's own is exported with them, or not at all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from ckdmed.cli import main
from ckdmed.cli.export import _entries, _pair
from ckdmed.export import export_bundle
from ckdmed.export.exporter import _check_fit
from ckdmed.export.own_components import check_own_components
from ckdmed.files import write_json
from tests.export.tiny import ROOT, config, sizes_of, write_checkpoint

OWN: dict[str, Any] = {"network_def": {"_target_": "BasicUNet", "spatial_dims": 2}}


def weights_of(folder: Path, **components: Any) -> Path:
    """Weights whose record says that their training was given such components."""
    weights = folder / "model.pt"
    torch.save(nn.Conv2d(1, 4, 3).state_dict(), weights)
    write_json(weights.with_suffix(".json"), {"settings": {"epochs": 1}, "components": components})
    return weights


def test_what_the_inference_lacks_is_named_with_its_entries(tmp_path: Path) -> None:
    inference = ConfigParser(config("seg_kd", "inference.json"))
    noise = {"noise": {"_target_": "RandGaussianNoised"}, "train#preprocessing": "$None"}
    weights = weights_of(tmp_path, **OWN, **noise)
    with pytest.raises(ValueError, match="trained with network_def of your own.*--config_file") as refused:
        check_own_components(inference, weights, [])
    assert """--override 'network_def={"_target_": "BasicUNet", "spatial_dims": 2}' (docs""" in str(refused.value)
    # given by the user, whatever it is
    check_own_components(inference, weights, ["network_def"])
    check_own_components(inference, weights, ["network_def#spatial_dims"])
    check_own_components(inference, weights_of(tmp_path, **noise), [])
    inference["network_def"] = OWN["network_def"]
    check_own_components(inference, weights, [])


def test_other_preprocessing_is_not_exported_as_the_bundles_own(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.pt"
    write_checkpoint(checkpoint, "seg_kd")
    record = {"settings": {"epochs": 1, **sizes_of("seg_kd")}, "components": {"preprocessing_of": "$lambda s: []"}}
    write_json(checkpoint.with_suffix(".json"), record)
    with pytest.raises(ValueError, match="preprocessing_of of your own"):
        export_bundle(ROOT / "bundles/seg_kd", checkpoint, tmp_path / "brain_own")
    assert not (tmp_path / "brain_own").exists()


def test_preprocessing_of_the_training_alone_is_not_enough(tmp_path: Path) -> None:
    inference = ConfigParser(config("seg_kd", "inference.json"))
    weights = weights_of(tmp_path, preprocessing_of="$lambda size: []")
    with pytest.raises(ValueError, match="also give preprocessing, which does there what preprocessing_of does"):
        check_own_components(inference, weights, ["preprocessing_of"])
    check_own_components(inference, weights, ["preprocessing_of", "preprocessing"])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is of another network than bundles/seg_kd"):
        _check_fit(nn.Conv2d(1, 2, 3), weights_of(tmp_path), tmp_path / "model.pt", "bundles/seg_kd")


def test_files_are_read_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"network_def": {"_target_": "BasicUNet"}, "threshold": 0.4}')
    (tmp_path / "more.yaml").write_text("threshold: 0.3\n")
    found = _entries([tmp_path / "own.json", tmp_path / "more.yaml"])
    assert found == {"network_def": {"_target_": "BasicUNet"}, "threshold": 0.3} and _entries([]) == {}
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "broken.json").write_text('{"network_def": ')
    for name, told in (
        ("none.json", "there is no file"),
        ("list.json", "holds no entries"),
        ("broken.json", "cannot be"),
    ):
        with pytest.raises(ValueError, match=f"--config_file: .*{told}|--config_file: {told}.*{name}"):
            _entries([tmp_path / name])


def test_an_override_that_is_no_json_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        _pair("a=0.5") == ("a", 0.5) and _pair("a=b=c") == ("a", "b=c") and _pair('a={"b": [1]}') == ("a", {"b": [1]})
    )
    with pytest.raises(ValueError, match=re.escape("""--override network_def: '{"_target_": ...}' is no JSON""")):
        _pair('network_def={"_target_": ...}')
    with pytest.raises(ValueError, match="--override taps: .* is no JSON"):
        _pair("taps=[a")


def test_a_value_that_is_no_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = tmp_path / "model.pt"
    write_checkpoint(checkpoint, "seg_kd")
    words = ["export", "--bundle", "seg_kd", "--checkpoint", str(checkpoint), "--output_dir", str(tmp_path / "brain_x")]
    sizes = [word for name, value in sizes_of("seg_kd").items() for word in ("--override", f"{name}={value}")]
    assert main([*words, *sizes, "--override", "network_def=unet"]) == 2
    assert "network_def gives a str, not a network" in capsys.readouterr().err
    assert not (tmp_path / "brain_x").exists()
