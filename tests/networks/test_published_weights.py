from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from ckdmed.networks import BackboneUNet, published_weights, weights_file

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "home/hub/checkpoints"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ResNet-10's weights as if they were published, at an address that needs no internet."""
    torch.manual_seed(3)
    torch.save(BackboneUNet(in_channels=3, backbone="resnet10").encoder.state_dict(), tmp_path / "weights.pth")
    digest = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    file = (tmp_path / "weights.pth").rename(tmp_path / f"resnet10-{digest[:8]}.pth")
    monkeypatch.setitem(published_weights.PUBLISHED, "resnet10", file.as_uri())
    return file


def test_a_file_is_a_file() -> None:
    assert weights_file("some.pth", "resnet18") == "some.pth"


def test_imagenet_is_downloaded_once_checked_and_loaded(published: Path, cache: Path) -> None:
    network = BackboneUNet(backbone="resnet10", weights="imagenet")
    source = torch.load(published, weights_only=True)
    assert torch.equal(network.encoder.layer1[0].conv1.weight, source["layer1.0.conv1.weight"])
    # one channel gets the sum over three
    assert torch.allclose(network.encoder.conv1.weight[:, 0], source["conv1.weight"].sum(dim=1), atol=1e-6)
    published.unlink()
    assert weights_file("imagenet", "resnet10") == str(cache / published.name)


def test_another_content_than_its_name_says_is_refused(published: Path, cache: Path) -> None:
    published.write_bytes(b"something else")
    with pytest.raises(RuntimeError, match="could not be downloaded from file:.*hash"):
        weights_file("imagenet", "resnet10")
    assert not list(cache.glob("*.pth"))


def test_without_an_internet_the_error_says_what_to_do(published: Path) -> None:
    published.unlink()
    with pytest.raises(
        RuntimeError, match=r"published weights of resnet10 .*give a file in place of 'imagenet', or put"
    ):
        weights_file("imagenet", "resnet10")


def test_what_is_not_published_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="efficientnet-lite0 has no published weights that can be downloaded"):
        BackboneUNet(backbone="efficientnet-lite0", weights="imagenet")


def test_every_address_has_a_hash() -> None:
    assert all(published_weights._HASH.search(address) for address in published_weights.PUBLISHED.values())
