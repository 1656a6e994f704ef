"""The noise, the shapes, the tumours' geometry, the command and its preview."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from ckdmed.cli import main
from ckdmed.data.phantoms import write_preview
from ckdmed.data.phantoms.anatomy import Head, Tissue
from ckdmed.data.phantoms.noise import SmoothNoise
from ckdmed.data.phantoms.shapes import capsule, ellipsoid, smooth_max, smooth_min
from ckdmed.data.phantoms.tumours import glioma, meningioma, pituitary


def test_noise_has_unit_scale_and_the_asked_spacing() -> None:
    noise = SmoothNoise(np.random.default_rng(0))
    line = np.zeros((3, 60_000), np.float32)
    line[0] = np.linspace(0, 3000, 60_000)
    line[1] = np.linspace(0, 7919, 60_000)
    length = float(np.hypot(3000, 7919))
    values = noise(line, 10.0)
    assert abs(values.mean()) < 0.1 and abs(values.std() - 1) < 0.1
    crossings = np.count_nonzero(np.diff(np.sign(values)))
    assert 0.85 < length / crossings / 10.0 < 1.15
    with pytest.raises(ValueError, match="at least 16 cells per edge, got 8"):
        SmoothNoise(np.random.default_rng(0), 8)


def test_shapes_by_hand() -> None:
    points = np.array([[0, 0, 0], [3, 0, 0], [5, 0, 0], [0, 4, 0]], np.float32).T
    np.testing.assert_allclose(ellipsoid(points, (0, 0, 0), (3, 3, 3)), [-3, 0, 2, 1], atol=1e-4)
    np.testing.assert_allclose(capsule(points, (0, 0, 0), (4, 0, 0), 1), [-1, -1, 0, 3], atol=1e-6)
    a, b = np.float32([1.0, 5.0]), np.float32([1.0, -5.0])
    np.testing.assert_allclose(smooth_min(a, b, 2), [0.5, -5])
    np.testing.assert_allclose(smooth_max(a, b, 2), [1.5, 5])


def test_tumours_lie_where_their_kind_grows() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        head = Head(rng)
        grid = np.stack(np.meshgrid(*[np.arange(-90, 91, 4.0)] * 3, indexing="ij")).reshape(3, -1).astype(np.float32)
        cranium, brain = head.cranium(grid), head.brain(grid)
        extra, intra, sella = (make(head, rng) for make in (meningioma, glioma, pituitary))
        assert not (extra.level(grid) > 0)[cranium > 0].any()
        assert brain[intra.level(grid) > 4].max() < 0
        assert abs(sella.centre[0]) < 6 and sella.centre[2] < -15
        # The dura is met by the first and not by the second at its own level.
        assert head.brain(extra.centre[:, None].astype(np.float32))[0] > -26
        assert head.brain(intra.centre[:, None].astype(np.float32))[0] < -8


def test_a_tumour_pushes_only_its_surroundings() -> None:
    rng = np.random.default_rng(0)
    tumour = glioma(Head(rng), rng)
    far = (tumour.centre + np.array([0, 150.0, 0]))[:, None].astype(np.float32)
    np.testing.assert_allclose(tumour.displace(far), far, atol=0.2)
    near = (tumour.centre + tumour.rotation[:, 0] * tumour.radii[0] * 1.5)[:, None].astype(np.float32)
    centre = tumour.centre[:, None]
    assert np.linalg.norm(tumour.displace(near) - centre) < np.linalg.norm(near - centre) - 0.5


def test_a_head_has_the_tissues_of_a_head() -> None:
    head = Head(np.random.default_rng(0))
    spots = {
        Tissue.GLAND: (0, 12, -35),
        Tissue.VESSEL: (0, 0, 67),
        Tissue.EYE: (32, 68, -24),
        Tissue.DEEP_GREY: (11, -14, 7),
    }
    points = (np.array(list(spots.values())).T * head.scale[:, None]).astype(np.float32)
    points[2, 1] = 0.0
    top = np.zeros((3, 400), np.float32)
    top[2] = np.linspace(40, 110, 400)
    points[:, 1] = top[:, int(np.argmax(head.cranium(top) > -3))]
    np.testing.assert_array_equal(head.tissue(points), list(spots))


def test_command_and_preview(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat, solid = tmp_path / "flat", tmp_path / "solid"
    options = ["--patients", "3", "--slices", "1", "2", "--size", "48", "--quiet", "--preview", str(tmp_path / "f.png")]
    assert main(["phantoms", "figshare", str(flat), *options]) == 0
    options = ["--cases", "1", "--shape", "32", "32", "24", "--types", "MET", "--quiet"]
    assert main(["phantoms", "brats", str(solid), *options, "--preview", str(tmp_path / "b.png")]) == 0
    assert (solid / "BraTS-MET-00000-000" / "BraTS-MET-00000-000-seg.nii.gz").is_file()
    assert str(flat) in capsys.readouterr().out
    assert imread(tmp_path / "f.png").shape[:2] == (480, 160)
    assert imread(tmp_path / "b.png").shape[:2] == (160, 1280)
    assert main(["phantoms", "figshare", str(flat), "--size", "64", "--quiet"]) == 2
    assert "made with" in capsys.readouterr().err


def test_preview_refuses_other_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a folder of phantoms"):
        write_preview(tmp_path, tmp_path / "x.png")
