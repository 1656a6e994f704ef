from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from monai.transforms import ScaleIntensityRangePercentiles

from ckdmed.intended_inputs import IntendedInputs, SeriesFacts, check_input, fit_intended_inputs, series_facts
from ckdmed.intended_inputs.appearance import Appearance, AppearanceError
from ckdmed.intended_inputs.slice_features import FEATURE_NAMES, SIDE, network_view, slice_features

SHIPPED = Path(__file__).resolve().parents[2] / "bundles/seg_kd/models/model.pt"


def head(rng: np.random.Generator, contrast: float = 0.4, noise: float = 0.02) -> np.ndarray:
    """A round head with bright skin and a few darker blobs, (64, 64)."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    radius = np.hypot(x / rng.uniform(0.7, 0.9), y / rng.uniform(0.8, 0.95))
    image = np.where(radius < 1, contrast + rng.uniform(-0.03, 0.03), 0.0) + np.where(abs(radius - 0.95) < 0.06, 0.5, 0)
    for _ in range(4):
        a, b = rng.uniform(-0.5, 0.5, 2)
        image -= 0.5 * contrast * (np.hypot(x - a, y - b) < rng.uniform(0.1, 0.2))
    return np.clip(image + rng.normal(0, noise, image.shape), 0, None).astype(np.float32)


@pytest.fixture(scope="module")
def intended() -> IntendedInputs:
    rng = np.random.default_rng(0)
    parts = [(np.stack([head(rng) for _ in range(4)]), f"p{person}") for person in range(12)]
    return fit_intended_inputs([parts], ["t1c"], "heads", "made up", field_of_view_mm=(240.0, 240.0))


def test_a_view_is_scaled_as_monai_scales_it_and_averaged() -> None:
    slices = np.random.default_rng(0).gamma(2.0, 100.0, (2, 512, 512)).astype(np.float32)
    scaled = ScaleIntensityRangePercentiles(0.5, 99.5, 0.0, 1.0, clip=True, channel_wise=True)(slices)
    wanted = np.asarray(scaled).reshape(2, SIDE, 4, SIDE, 4).mean((2, 4))
    np.testing.assert_allclose(network_view(slices), wanted, atol=1e-6)
    assert (network_view(np.full((1, 64, 64), 7.0, np.float32)) == 0).all()


def test_features_are_finite_and_named() -> None:
    image = head(np.random.default_rng(1))
    view = network_view(image[None])
    assert view.shape == (1, SIDE, SIDE)
    found = slice_features(view[0])
    assert found is not None and found.shape == (len(FEATURE_NAMES),) and np.isfinite(found).all()
    # what a scanner's amplifier does to all of an image changes nothing
    assert np.allclose(slice_features(network_view(image[None] * 7 + 100)[0]), found, atol=1e-3)
    assert slice_features(np.zeros((SIDE, SIDE))) is None


def test_like_and_unlike(intended: IntendedInputs) -> None:
    rng = np.random.default_rng(2)
    volume = np.stack([head(rng) for _ in range(8)])
    check = check_input(intended, volume, SeriesFacts("MR", "t1c", "", 240.0))
    assert check.status == "intended" and check.distance < 1 and check.slices == 8 and check.sentence
    other = check_input(intended, np.stack([head(rng, 1.2, 0.1) for _ in range(8)]))
    assert other.outside and other.causes == ("appearance",) and other.flagged == 8
    assert "unlike those of the training" in other.sentence and "NOT AN INPUT" in other.sentence


@pytest.mark.parametrize(
    ("facts", "cause", "text"),
    [
        (SeriesFacts("CT"), "modality", "its modality is CT, not MR"),
        (SeriesFacts("MR", "t2f", "its name is 'a_flair'"), "sequence", "FLAIR, not contrast-enhanced T1"),
        (SeriesFacts("MR", "t1c", "", 100.0), "field of view", "100 mm"),
        (SeriesFacts("MR", "t1c", "", 240.0, "", (0.9, 5.5)), "cut", "pixels of 0.9 x 5.5 mm; store the volume"),
        (SeriesFacts("MR", "t1c", "", 240.0, placed=False), "place", "slices may be upside down, and left"),
    ],
)
def test_header_alone_flags(intended: IntendedInputs, facts: SeriesFacts, cause: str, text: str) -> None:
    check = check_input(intended, head(np.random.default_rng(3))[None], facts)
    assert check.outside and check.causes == (cause,) and text in check.sentence


def test_pixels_of_up_to_twice_their_width_are_no_cut_across(intended: IntendedInputs) -> None:
    facts = SeriesFacts("MR", "t1c", "", 240.0, "", (0.5, 1.0))
    assert check_input(intended, head(np.random.default_rng(3))[None], facts).causes == ()


def test_a_training_on_files_without_an_affine_takes_such_files(intended: IntendedInputs, tmp_path: Path) -> None:
    replace(intended, placed=False).write(tmp_path / "net.inputs.json")
    again = IntendedInputs.read(tmp_path / "net.inputs.json")
    facts = SeriesFacts("MR", "t1c", "", 240.0, placed=False)
    assert check_input(again, head(np.random.default_rng(3))[None], facts).causes == ()


def test_nothing_recorded_and_nothing_to_see(intended: IntendedInputs) -> None:
    assert check_input(None, np.zeros((1, 8, 8))).status == "unknown"
    assert check_input(intended, np.zeros((1, 8, 8))).status == "unknown"


def test_record_comes_back(intended: IntendedInputs, tmp_path: Path) -> None:
    path = intended.write(tmp_path / "net.inputs.json")
    again = IntendedInputs.beside(tmp_path / "net.pt")
    assert again is not None and again.to_json() == json.loads(path.read_text())
    volume = head(np.random.default_rng(4))[None]
    assert check_input(again, volume).distance == pytest.approx(check_input(intended, volume).distance, rel=1e-3)
    assert IntendedInputs.beside(tmp_path / "other.pt") is None


@pytest.mark.parametrize("damage", ['{"format": "x"}', "[]", '{"format": "ckdmed intended inputs 1"}'])
def test_damaged_record(tmp_path: Path, damage: str) -> None:
    (tmp_path / "net.inputs.json").write_text(damage)
    with pytest.raises(ValueError, match="net.inputs.json: not a record of what a network was made for"):
        IntendedInputs.beside(tmp_path / "net.pt")


def test_several_images_of_an_input(intended: IntendedInputs) -> None:
    both = replace(intended, sequences=("t1n", "t1c"), appearances=intended.appearances * 2)
    rng = np.random.default_rng(5)
    good, bad = np.stack([head(rng) for _ in range(5)]), np.stack([head(rng, 1.2, 0.1) for _ in range(5)])
    facts = [SeriesFacts("MR", "t1n"), SeriesFacts("MR", "t1c")]
    assert not check_input(both, np.concatenate([good, good]), facts).outside
    check = check_input(both, np.concatenate([good, bad]), facts)
    assert check.reasons[0].startswith("the image of t1c its slices look unlike")


def test_too_few_patients() -> None:
    with pytest.raises(AppearanceError, match="50 slices of 5 patients"):
        Appearance.fit(np.zeros((50, 3)), ["a", "b", "c", "d", "e"] * 10, ["x", "y", "z"])


def test_shipped_record_flags_a_healthy_t1(shared_data) -> None:
    from ckdmed.data.slice_files import read_slices

    intended = IntendedInputs.beside(SHIPPED)
    folder = shared_data / "dicom/t1w"
    slices, _ = read_slices(folder)
    check = check_input(intended, slices[::6], series_facts(folder))
    assert check.outside and set(check.causes) == {"sequence", "appearance"}
    assert check.flagged == check.slices == 8
