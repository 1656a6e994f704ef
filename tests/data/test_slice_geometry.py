"""Slices stand as a radiologist sees them, and lead back to the file's array."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from ckdmed.data.slice_geometry import SLICE_AXES, SliceGeometry, plain_geometry, spatial_geometry

SHAPE = (3, 4, 5)
CODES = [a + b + c for a in "RL" for b in "AP" for c in "SI"]
CODES += [c + a + b for a in "RL" for b in "AP" for c in "SI"] + [b + c + a for a in "RL" for b in "AP" for c in "SI"]


def coordinates(codes: str) -> tuple[np.ndarray, np.ndarray]:
    """A volume whose values tell their place: 100 x + 10 y + z of the RAS index; and the affine of its array."""
    x, y, z = np.meshgrid(range(3), range(4), range(5), indexing="ij")
    image = nib.Nifti1Image((100 * x + 10 * y + z).astype(np.float32), np.eye(4))
    transform = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(tuple(codes)))
    turned = image.as_reoriented(transform)
    assert np.allclose(turned.affine, image.affine @ inv_ornt_aff(transform, SHAPE))
    return np.asarray(turned.dataobj), turned.affine


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize(
    ("plane", "rows", "columns"), [("axial", "y", "x"), ("coronal", "z", "x"), ("sagittal", "z", "y")]
)
def test_any_storage_gives_the_radiological_view(codes, plane, rows, columns):
    array, affine = coordinates(codes)
    geometry = spatial_geometry("nifti", array.shape, affine, plane)
    slices = geometry.to_slices(array)
    place = {"x": slices // 100, "y": slices // 10 % 10, "z": slices % 10}
    # downwards: to the back, or to the feet; to the right of the picture: to the patient's left, or to the back
    assert (np.diff(place[rows], axis=1) == -1).all()
    assert (np.diff(place[columns], axis=2) == -1).all()
    assert np.array_equal(geometry.to_array(slices), array)


def test_the_last_axis_is_the_default_whatever_its_plane():
    array, affine = coordinates("SLP")
    slices = spatial_geometry("nifti", array.shape, affine).to_slices(array)
    # the last axis runs from front to back, so these are coronal slices
    assert slices.shape == (4, 5, 3)
    assert np.array_equal(slices, spatial_geometry("nifti", array.shape, affine, "coronal").to_slices(array))


@given(
    shape=st.tuples(*[st.integers(1, 4)] * 3),
    angles=st.tuples(*[st.integers(-30, 30)] * 3),
    axis=st.sampled_from(SLICE_AXES),
    trailing=st.integers(0, 2),
)
def test_round_trip_of_any_orientation(shape, angles, axis, trailing):
    turn = np.eye(3)
    for i, angle in enumerate(np.array(angles) / 10):
        j, k = [n for n in range(3) if n != i]
        step = np.eye(3)
        step[[j, j, k, k], [j, k, j, k]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turn = turn @ step
    affine = np.eye(4)
    affine[:3, :3] = turn * [1, 2, 0.5]
    array = np.arange(np.prod(shape)).reshape(*shape, *[1] * trailing)
    geometry = SliceGeometry.from_text(spatial_geometry("nifti", array.shape, affine, axis).to_text())
    back = geometry.to_array(geometry.to_slices(array))
    assert back.shape == array.shape and np.array_equal(back, array)
    assert np.array_equal(np.array(geometry.affine), affine)


def test_a_two_dimensional_array_is_one_slice():
    array = np.arange(6).reshape(2, 3)
    geometry = spatial_geometry("nifti", array.shape, np.diag([1.0, 1, 1, 1]), "sagittal")
    assert np.array_equal(geometry.to_slices(array), array.T[None, ::-1, ::-1])
    assert np.array_equal(plain_geometry("mat", (2, 3)).to_slices(array), array[None])


@pytest.mark.parametrize(
    ("shape", "affine", "axis", "cause"),
    [
        ((4, 4, 4), np.eye(4), 3, "slice_axis must be one of"),
        ((4, 4, 4), np.eye(4), True, "slice_axis must be one of"),
        ((4, 4, 4), np.eye(4), "oblique", "slice_axis must be one of"),
        ((4, 4, 4, 2), np.eye(4), -1, "neither a slice nor a volume"),
        ((4,), np.eye(4), -1, "neither a slice nor a volume"),
        ((4, 4, 4), np.diag([1.0, 1, 0, 1]), -1, "cannot be inverted"),
        ((4, 4, 4), np.full((4, 4), np.nan), -1, "not finite"),
    ],
)
def test_what_is_refused(shape, affine, axis, cause):
    with pytest.raises(ValueError, match=cause):
        spatial_geometry("nifti", shape, affine, axis)
