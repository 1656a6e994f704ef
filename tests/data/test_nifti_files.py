"""NIfTI files that are damaged, or claim more than they hold."""

from __future__ import annotations

import gzip
import warnings
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import LoadImaged

from ckdmed.data.nifti_files import affine_mm, open_nifti
from ckdmed.data.slice_files import InputFileError, read_slices
from ckdmed.data.volume_headers import read_volume_header
from ckdmed.data.volume_reader import VolumeReader, read_volume
from ckdmed.limits import MAX_BYTES_VARIABLE, FileTooLargeError


def image(shape=(9, 8, 7), kind=nib.nifti1.Nifti1Image, affine=None) -> nib.nifti1.Nifti1Image:
    values = np.random.default_rng(0).integers(0, 999, shape).astype(np.int16)
    return kind(values, np.diag([1.0, 2, 3, 1]) if affine is None else affine)


def refused(path: Path, match: str) -> None:
    """By every way of reading; the one through MONAI shows our cause and not what its other readers said."""
    with pytest.raises(InputFileError, match=match) as by_slices:
        read_slices(path)
    with pytest.raises(ValueError, match=match) as by_volume:
        read_volume(path)
    with pytest.raises((ValueError, RuntimeError)) as by_monai:
        LoadImaged("image", reader=VolumeReader)({"image": path})
    chain = f"{by_monai.value} {by_monai.value.__cause__} {by_monai.value.__context__}"
    for text in (str(by_slices.value), str(by_volume.value), chain):
        assert path.name in text
    assert str(by_volume.value) in chain


def claims(shape: tuple[int, ...], dtype: str = "f8", offset: int = 352) -> bytes:
    header = nib.nifti1.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header["vox_offset"], header["magic"] = offset, b"n+1"
    return header.binaryblock


@pytest.mark.parametrize("kind", [nib.nifti1.Nifti1Image, nib.nifti2.Nifti2Image])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_reads_what_nibabel_reads(tmp_path: Path, kind, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    scaled = image(kind=kind)
    scaled.header.set_slope_inter(0.37, -11)
    scaled.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a patient's name"))
    nib.save(scaled, path)
    ours, theirs = open_nifti(path), nib.load(path)
    np.testing.assert_array_equal(ours.get_fdata(dtype=np.float32), theirs.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    assert type(ours) is type(theirs) and ours.get_data_dtype() == theirs.get_data_dtype()
    assert not ours.header.extensions


@pytest.mark.parametrize("where", [40, 0.5, 0.9, -7])
def test_a_flipped_bit_of_a_compressed_file_is_noticed(tmp_path: Path, where: float) -> None:
    # Stored, not deflated: every flipped bit of the voxels gives a readable stream with other voxels.
    content = bytearray(gzip.compress(image().to_bytes(), compresslevel=0, mtime=0))
    content[int(where * len(content)) if 0 < where < 1 else int(where)] ^= 8
    path = tmp_path / "flipped.nii.gz"
    path.write_bytes(content)
    refused(path, "CRC|header|truncated or damaged")


def test_what_is_behind_the_voxels_is_read_and_bounded(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "tail.nii.gz"
    content = image().to_bytes()
    path.write_bytes(gzip.compress(content + bytes(3 << 20)))
    assert open_nifti(path).shape == (9, 8, 7)
    monkeypatch.setenv(MAX_BYTES_VARIABLE, str(2 << 20))
    refused(path, "follows the voxels.*CKDMED_MAX_BYTES")
    path.write_bytes(gzip.compress(content) + b"garbage")
    refused(path, "truncated or damaged.*gzip")
    path.write_bytes(gzip.compress(content)[:-4])
    refused(path, "truncated or damaged")


def test_claims_are_compared_with_the_file_and_the_limit(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "claims.nii.gz"
    path.write_bytes(gzip.compress(claims((1024, 1024, 512)) + bytes(4)))
    refused(path, r"shape \(1024, 1024, 512\) of float64 takes 4294967648 bytes, but the file")
    plain = tmp_path / "claims.nii"
    plain.write_bytes(claims((8, 8, 8), "u1")[:348] + bytes(100))
    refused(plain, "holds at most 448")
    nib.save(image(), path)
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "2000")
    refused(path, r"would take 2368 bytes in memory, but 2000 are allowed.*CKDMED_MAX_BYTES")
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "3000")
    assert read_volume(path)[0].shape == (9, 8, 7)
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "much")
    with pytest.raises(ValueError, match="CKDMED_MAX_BYTES must be a number of bytes"):
        read_volume(path)


def test_an_extension_of_any_size_is_not_read(tmp_path: Path) -> None:
    packer = zlib.compressobj(1, wbits=31)
    path = tmp_path / "extension.nii.gz"
    length = 300 << 20
    with open(path, "wb") as stream:
        stream.write(packer.compress(claims((8, 8, 8), "u1", 352 + length) + b"\1\0\0\0"))
        for _ in range(300):
            stream.write(packer.compress(bytes(1 << 20)))
        stream.write(packer.compress(bytes(range(256)) * 2) + packer.flush())
    with pytest.raises(FileTooLargeError, match="from byte 314573152 on"):
        read_volume_header(path)


def test_a_quaternion_that_is_none_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "turned.nii"
    turned = image()
    turned.set_sform(None, 0)
    turned.set_qform(np.eye(4), 1)
    nib.save(turned, path)
    content = bytearray(path.read_bytes())
    # quatern_b
    content[256:260] = np.float32(5).tobytes()
    path.write_bytes(content)
    refused(path, "turned.nii: its NIfTI header cannot be read .*w2 should be positive")


def test_units_of_length_are_honoured(tmp_path: Path) -> None:
    expected = np.diag([1.0, 2, 3, 1])
    for unit, factor in (("meter", 1e-3), ("micron", 1e3), ("mm", 1.0), ("unknown", 1.0)):
        scaled = expected.copy()
        scaled[:3] *= factor
        moved = image(affine=scaled)
        moved.header.set_xyzt_units(unit, "sec")
        path = tmp_path / f"{unit}.nii.gz"
        nib.save(moved, path)
        np.testing.assert_allclose(affine_mm(open_nifti(path)), expected, rtol=1e-6)
        np.testing.assert_allclose(read_volume(path)[1], expected, rtol=1e-6)
        np.testing.assert_allclose(read_slices(path)[1].affine, expected, rtol=1e-6)


@pytest.mark.parametrize("values", [np.full((5, 5, 5), np.nan, np.float32), np.ones((5, 5, 5), np.complex64)])
def test_the_readers_own_error_reaches_the_user(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "a.nii.gz"
    nib.save(nib.nifti1.Nifti1Image(values, np.eye(4)), path)
    refused(path, "complex64 values|125 NaN or infinite")


def test_nibabels_own_files(tmp_path: Path) -> None:
    folder = Path(nib.__file__).parent / "tests" / "data"
    files = sorted(path for path in folder.glob("*.nii*") if path.suffix in (".nii", ".gz"))
    if not files:
        pytest.skip("nibabel comes without its test files")
    read = 0
    for path in files:
        try:
            array, affine = read_volume(path)
        except ValueError as error:
            assert path.name in str(error)
            continue
        read += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = nib.load(path).get_fdata(dtype=np.float32)
        np.testing.assert_array_equal(array, theirs.reshape(array.shape))
    assert read >= len(files) // 2
