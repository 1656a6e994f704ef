"""NiiVue in the page of a volume: what goes into the page, and what a browser then shows of it."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from ckdmed import cli
from ckdmed.run_pages.case_images import read_case_images
from ckdmed.run_pages.inference_run import read_inference_run
from ckdmed.run_pages.niivue import read_niivue, volume_viewer
from tests.run_pages.browser import Browser
from tests.run_pages.runs import write_inference

PLS = np.array([[0.0, -1.0, 0, 0], [-1, 0, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
#: NiiVue's numbers of views; the letters on the edges, left, top, right, bottom; which axes of RAS run along them
VIEWS = {"axial": (0, "RALP", (0, 1)), "coronal": (1, "RSLI", (0, 2)), "sagittal": (2, "ASPI", (1, 2))}


def niivue_package(folder: Path, licence: str = "BSD-2-Clause") -> Path:
    (folder / "dist").mkdir(parents=True)
    package = {"name": "@niivue/niivue", "version": "0.0.1", "license": licence}
    (folder / "package.json").write_text(json.dumps(package))
    (folder / "dist/niivue.umd.js").write_text("var niivue = {};")
    return folder


def test_niivue_gets_the_volume_in_its_own_geometry(tmp_path):
    folder = write_inference(tmp_path / "run", PLS)
    run = read_inference_run(folder)
    viewer = volume_viewer(
        read_case_images(run.results[0], run.settings), read_niivue(niivue_package(tmp_path / "package"))
    )
    assert viewer is not None and "BSD-2-Clause" in viewer.licence and "AS IS" in viewer.licence
    mask = nib.Nifti1Image.from_bytes(gzip.decompress(viewer.mask))
    original = nib.load(folder / "one_mask.nii.gz")
    assert np.array_equal(mask.get_fdata(), original.get_fdata()) and np.allclose(mask.affine, original.affine)
    middle = (original.affine @ [*(np.argwhere(original.get_fdata() > 0).mean(axis=0)), 1])[:3]
    assert np.allclose(viewer.centre_mm, middle)


def test_another_package_than_niivue_is_refused(tmp_path):
    with pytest.raises(ValueError, match="npm pack @niivue/niivue"):
        read_niivue(tmp_path)
    with pytest.raises(ValueError, match="states the licence 'GPL-3.0'"):
        read_niivue(niivue_package(tmp_path / "package", "GPL-3.0"))


def oblique(order: tuple[int, int, int], signs: tuple[int, int, int]) -> np.ndarray:
    """Of a volume that lies aslant, with voxels of 1, 1.2 and 2 mm along the axes nearest to right, front and top."""
    affine = np.eye(4)
    turned = Rotation.from_euler("xyz", [12, -15, 20], degrees=True).as_matrix()
    affine[:3, :3] = (turned @ np.diag(np.array(signs) * [1.0, 1.2, 2.0]))[:, order]
    affine[:3, 3] = [40, -70, -30]
    return affine


@pytest.fixture(params=[oblique((0, 1, 2), (-1, -1, 1)), oblique((2, 0, 1), (-1, 1, 1))], ids=["LPS", "SLA"])
def volume(request, browser, tmp_path) -> tuple[Path, nib.Nifti1Image]:
    """The opened page of a volume, `viewer` of the page being NiiVue, and the mask: left, at the front, above."""
    given = os.environ.get("CKDMED_NIIVUE")
    if not given:
        pytest.skip("CKDMED_NIIVUE does not name the unpacked npm package @niivue/niivue")
    shape = (40, 48, 24) if request.param[2, 2] > 1 else (24, 40, 48)
    run = write_inference(tmp_path / "run", request.param, shape, (-9, 11, 7))
    assert cli.main(["report", str(run), "--niivue", given]) == 0
    page = run / "report/cases/one.html"
    browser.open(page)
    browser.wait_for("document.getElementById('volume-state').textContent.includes('patient')")
    # the page keeps its viewer to itself, and whatever draws is it
    browser.evaluate("""(() => {
          const { drawScene, drawText } = niivue.Niivue.prototype;
          niivue.Niivue.prototype.drawScene = function (...all) {
            window.viewer = this;
            window.letters = [];
            return drawScene.apply(this, all);
          };
          niivue.Niivue.prototype.drawText = function (place, text, ...more) {
            letters.push([text, ...place]);
            return drawText.call(this, place, text, ...more);
          };
        })()""")
    set_to(browser, "volume-strength", 60, "input")
    return page, nib.load(run / "one_mask.nii.gz")


def set_to(browser: Browser, name: str, value: int, event: str) -> None:
    control = f"document.getElementById('{name}')"
    browser.evaluate(f"{control}.value = {value}; {control}.dispatchEvent(new Event('{event}'))")


def canvas(browser: Browser) -> np.ndarray:
    """What NiiVue draws, in grey."""
    # its buffer is empty again once it has been shown
    address = browser.evaluate("(viewer.drawScene(), viewer.canvas.toDataURL('image/png'))")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("L")).astype(int)


@pytest.mark.slow
def test_niivue_shows_a_volume_where_its_affine_says(browser, volume):
    page, mask = volume
    marked = np.argwhere(mask.get_fdata() > 0).mean(axis=0)
    place = (mask.affine @ [*marked, 1])[:3]
    for number in range(2):
        assert np.allclose(browser.evaluate(f"viewer.getVolumeAffine({number})"), mask.affine, atol=1e-4)
    # it begins at what was found
    assert np.allclose(
        browser.evaluate("[...viewer.frac2mm(viewer.scene.crosshairPos, 0, true)]")[:3], place, atol=0.01
    )
    upright = nib.as_closest_canonical(mask)
    share = (np.argwhere(upright.get_fdata() > 0).mean(axis=0) + 0.5) / upright.shape
    # without the lines, which cross the mark
    browser.evaluate("viewer.setCrosshairWidth(0)")
    for view, (number, letters, (across, up)) in VIEWS.items():
        set_to(browser, "volume-view", number, "change")
        pictures = []
        for percent in (100, 0):
            set_to(browser, "volume-strength", percent, "input")
            pictures.append(canvas(browser))
        found = np.argwhere(abs(pictures[0] - pictures[1]) > 20)
        assert len(found), view
        height, width = pictures[0].shape
        # the slice is in the middle, as large as it fits; the patient's right is on its left, and so is the nose
        sides = np.array([upright.shape[axis] * upright.header.get_zooms()[axis] for axis in (across, up)])
        sides = sides * min(width / sides[0], height / sides[1])
        expected = np.array([width, height]) / 2 + (0.5 - share[[across, up]]) * sides
        y, x = found.mean(axis=0)
        assert np.allclose((x, y), expected, atol=4), (view, (x, y), expected)
        assert (x > width / 2) == (across == 0) and y < height / 2, view
        drawn = {text: (at_x / width, at_y / height) for text, at_x, at_y in browser.evaluate("letters")}
        assert set(drawn) == set(letters)
        assert drawn[letters[0]][0] < 0.1 and drawn[letters[2]][0] > 0.9
        assert drawn[letters[1]][1] < 0.1 and drawn[letters[3]][1] > 0.9
    assert [address for address in browser.requests if not address.startswith(("data:", "blob:"))] == [page.as_uri()]
    assert [text for text in browser.messages if not text.startswith("niivue-warn")] == []


@pytest.mark.slow
def test_a_click_on_niivue_says_what_is_there_in_mm(browser, volume):
    _, mask = volume
    place = (mask.affine @ [*np.argwhere(mask.get_fdata() > 0).mean(axis=0), 1])[:3]
    kinds = browser.evaluate("viewer.screenSlices.map(slice => slice.axCorSag)")
    assert sorted(kinds) == [0, 1, 2, 4]
    browser.evaluate("document.getElementById('volume').scrollIntoView()")
    upright = nib.as_closest_canonical(mask)
    share = (np.argwhere(upright.get_fdata() > 0).mean(axis=0) + 0.5) / upright.shape
    left, top, width, height = browser.evaluate(f"viewer.screenSlices[{kinds.index(0)}].leftTopWidthHeight")
    box = browser.evaluate("document.getElementById('volume-canvas').getBoundingClientRect().toJSON()")
    for right, front, said in ((share[0], share[1], ": tumour"), (1 - share[0], share[1], "front and top")):
        x, y = box["left"] + left + (1 - right) * width, box["top"] + top + (1 - front) * height
        for kind in ("mousePressed", "mouseReleased"):
            browser.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        browser.wait_for(f"document.getElementById('volume-state').textContent.endsWith('{said}')", 20)
        text = browser.evaluate("document.getElementById('volume-state').textContent")
        shown = [float(part) for part in text.split(" mm ")[0].split(", ")]
        step = np.array([right - share[0], front - share[1], 0]) * upright.shape
        assert np.allclose(shown, place + upright.affine[:3, :3] @ step, atol=1.5), text
