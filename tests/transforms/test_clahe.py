"""CLAHE."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, EnsureTyped

from ckdmed.transforms import CLAHE, CLAHEd


def _image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)


def _equalised(image: np.ndarray, nbins: int) -> np.ndarray:
    """Plain histogram equalisation on scikit-image's grey levels: slow, by the definition."""
    levels = 2**14
    unit = (image.astype(np.float64) - image.min()) / (image.max() - image.min())
    grey = np.round(np.round(unit * 65535) / 65535 * (levels - 1))
    bins = grey // (1 + levels // nbins)
    out = np.empty(image.shape)
    for index, value in np.ndenumerate(bins):
        out[index] = int((bins <= value).sum() * (levels - 1) / bins.size)
    return (out - out.min()) / (out.max() - out.min())


def test_one_tile_without_limit_is_histogram_equalisation() -> None:
    # A tile as large as the image: all its neighbours are itself, so nothing is blended.
    image = _image(1, 8, 8)
    out = CLAHE(clip_limit=0, tile_grid=1, nbins=64)(image)
    np.testing.assert_allclose(np.asarray(out)[0], _equalised(image[0], 64), atol=2e-4)


def test_one_tile_keeps_the_order_of_grey_values() -> None:
    image = _image(1, 16, 16)
    out = np.asarray(CLAHE(clip_limit=0.05, tile_grid=1)(image))
    ordered = out.ravel()[np.argsort(image.ravel())]
    assert (np.diff(ordered) >= -1e-6).all() and ordered[-1] > ordered[0]


def test_contrast_grows_with_the_limit() -> None:
    y, x = np.mgrid[:64, :64]
    image = (x + 3.0 * ((x + y) % 2) + 100 * (x > 60))[None].astype(np.float32)
    left = [np.asarray(CLAHE(clip_limit=limit, tile_grid=2)(image))[0, :, :56].std() for limit in (0.005, 0.02, 0.1)]
    assert left[0] < left[1] < left[2]


def test_range_and_type() -> None:
    image = _image(2, 32, 40)
    out = CLAHE()(image)
    assert isinstance(out, MetaTensor) and out.dtype == torch.float32 and out.shape == (2, 32, 40)
    assert float(out.min()) == pytest.approx(0) and float(out.max()) == pytest.approx(1)
    same = CLAHE(output_range="input")(image)
    for channel, before in zip(np.asarray(same), image):
        assert (channel.min(), channel.max()) == pytest.approx((before.min(), before.max()), rel=1e-6)
    wide = np.asarray(CLAHE(output_range=(-1, 3))(image))
    np.testing.assert_allclose(wide, -1 + 4 * np.asarray(out), atol=1e-5)


def test_scale_and_offset_of_the_input_do_not_matter() -> None:
    image = np.random.default_rng(0).integers(0, 64, (1, 32, 32)).astype(np.float32)
    np.testing.assert_array_equal(CLAHE()(image), CLAHE()(4 * image - 512))


def test_slice_mode_is_the_2d_transform_of_each_slice() -> None:
    volume = _image(2, 16, 18, 3)
    out = CLAHE(tile_grid=4)(volume)
    for i in range(3):
        np.testing.assert_array_equal(out[..., i], CLAHE(tile_grid=4)(volume[..., i]))
    moved = CLAHE(tile_grid=4, slice_axis=0)(np.moveaxis(volume, -1, 1))
    np.testing.assert_array_equal(np.moveaxis(np.asarray(moved), 1, -1), out)


def test_volume_mode_mixes_slices_and_takes_thin_volumes() -> None:
    volume = _image(1, 16, 16, 4)
    whole, slices = CLAHE(tile_grid=(4, 4, 1), mode="volume")(volume), CLAHE(tile_grid=4)(volume)
    assert whole.shape == volume.shape and not np.allclose(whole, slices)
    # The last axis is no colour axis: its place does not matter.
    turned = CLAHE(tile_grid=(1, 4, 4), mode="volume")(volume.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(np.asarray(turned).transpose(0, 2, 3, 1), whole, atol=1e-4)


def test_kernel_size_and_tile_grid_agree() -> None:
    image = _image(1, 32, 48)
    np.testing.assert_array_equal(CLAHE(tile_grid=(4, 8))(image), CLAHE(kernel_size=(8, 6))(image))
    np.testing.assert_array_equal(CLAHE()(image), CLAHE(tile_grid=8)(image))


@pytest.mark.parametrize("mode", ["slice", "volume"])
def test_constant_images(mode: str) -> None:
    image = np.full((1, 8, 8, 2), 7.0, dtype=np.float32)
    assert (np.asarray(CLAHE(mode=mode)(image)) == 0).all()
    assert (np.asarray(CLAHE(mode=mode, output_range="input")(image)) == 7).all()


def test_meta_is_kept_and_input_untouched() -> None:
    image = MetaTensor(_image(1, 16, 16), affine=torch.eye(4) * 2, meta={"patient": "p"})
    image.push_applied_operation({"class": "Before"})
    before = image.clone()
    out = CLAHE()(image)
    assert out.meta["patient"] == "p" and out.applied_operations == [{"class": "Before"}]
    torch.testing.assert_close(out.affine, image.affine)
    torch.testing.assert_close(image, before)


def test_kinds_of_input_agree() -> None:
    image = _image(1, 16, 16)
    results = [np.asarray(CLAHE()(kind(image))) for kind in (np.asarray, torch.as_tensor, MetaTensor)]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    integers = (image * 10).astype(np.int16)
    np.testing.assert_array_equal(CLAHE()(integers), CLAHE()(integers.astype(np.float32)))


def test_dictionary_twin_in_a_loader() -> None:
    items = [{"image": _image(1, 16, 16, seed=i), "id": i} for i in range(4)]
    chain = Compose([EnsureTyped("image"), CLAHEd("image", clip_limit=0.02, tile_grid=4)])
    batch = next(iter(DataLoader(Dataset(items, chain), batch_size=4)))
    expected = [np.asarray(CLAHE(clip_limit=0.02, tile_grid=4)(item["image"])) for item in items]
    np.testing.assert_array_equal(batch["image"], np.stack(expected))
    assert CLAHEd("absent", allow_missing_keys=True)(items[0]).keys() == items[0].keys()
    with pytest.raises(KeyError, match="absent"):
        CLAHEd("absent")(items[0])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"clip_limit": 2.0}, r"clip_limit must be in \[0, 1\].*got 2.0"),
        ({"nbins": 1}, "nbins must be in"),
        ({"mode": "cube"}, "'slice' or 'volume', got 'cube'"),
        ({"tile_grid": 4, "kernel_size": 4}, "not both"),
        ({"tile_grid": 0}, "tile_grid must be at least 1"),
        ({"kernel_size": (4, 0)}, "kernel_size must be at least 1"),
        ({"output_range": (1, 1)}, "low < high"),
        ({"output_range": "same"}, "'input', got 'same'"),
    ],
)
def test_bad_options(options: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        CLAHE(**options)


def test_bad_inputs() -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        CLAHE()(np.array([[[0.0, np.nan], [1.0, 2.0]]]))
    with pytest.raises(ValueError, match=r"shape \(8, 8\)"):
        CLAHE()(_image(8, 8))
    with pytest.raises(ValueError, match="tile_grid has 3 entries but 2 axes"):
        CLAHE(tile_grid=(2, 2, 2))(_image(1, 8, 8))
    with pytest.raises(ValueError, match="slice_axis"):
        CLAHE(slice_axis=3)(_image(1, 8, 8, 2))
    for dtype in (torch.complex64, torch.bfloat16):
        with pytest.raises(ValueError, match=f"real numbers NumPy knows, got {dtype}"):
            CLAHE()(torch.ones(1, 8, 8, dtype=dtype))


def test_numpys_integers_are_integers() -> None:
    image = _image(1, 16, 16)
    for option in ("tile_grid", "kernel_size"):
        ours, plain = (CLAHE(**{option: value})(image) for value in (np.int64(4), 4))
        np.testing.assert_array_equal(ours, plain)
