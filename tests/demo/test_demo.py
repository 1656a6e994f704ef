"""The demo: a slice or a series goes in, its mask is seen; the page asks nothing of other machines."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ckdmed import cli
from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.data.slice_geometry import plain_geometry, spatial_geometry
from ckdmed.demo import segmentation
from ckdmed.demo.page import _wanted, _words
from ckdmed.demo.segmentation import Found, UnusableInput, segment
from ckdmed.run_pages.case_images import CaseImages
from tests.demo.serving import served
from tests.run_pages.browser import Browser, chromium
from tests.run_pages.runs import MARKUP

BUNDLE = Path(__file__).resolve().parents[2] / "bundles/seg_kd"


def found(names=("tumour",), spacing=(1.0, 1.0, 4.0)) -> Found:
    image = np.random.default_rng(0).random((12, 20, 5))
    geometry = spatial_geometry("nifti", image.shape, np.diag([*spacing, 1.0]))
    mask = np.zeros(image.shape, bool)
    mask[4:8, 4:8, 3] = True
    own = {name: geometry.to_slices(mask) for name in names}
    return Found(CaseImages(geometry.to_slices(image), own, geometry), [], {name: MARKUP for name in names}, [MARKUP])


def test_a_picture_has_square_pixels_and_the_prediction_can_be_left_out():
    made = found(spacing=(1.0, 2.0, 4.0))
    assert made.first == 3
    with_it, without = made.picture(3), made.picture(3, with_prediction=False)
    # 12 columns of 1 mm, 20 rows of 2 mm
    assert with_it.shape == without.shape == (640, 192, 3)
    assert (with_it != without).any() and (without[..., 0] == without[..., 2]).all()
    assert np.array_equal(made.picture(99), made.picture(4)) and np.array_equal(made.picture(-1), made.picture(0))


def test_what_comes_from_files_is_no_markup():
    for names in (("tumour",), (MARKUP, "b")):
        text = _words(found(names))
        assert "<script" not in text and "<img" not in text and "&lt;script&gt;" in text
    assert "right is on the left" in _words(found())
    image = np.ones((1, 4, 4))
    flat = Found(CaseImages(image, {"tumour": image > 2}, plain_geometry("picture", (4, 4))), [], {"tumour": "0 px"})
    assert "does not state which side" in _words(flat)


def test_nothing_dropped_is_said(tmp_path):
    with pytest.raises(UnusableInput, match="First drop something to segment"):
        segment([], BUNDLE, tmp_path)


def test_a_bundle_without_weights_is_refused(tmp_path, capsys):
    assert cli.main(["demo", "--checkpoint", str(tmp_path / "model.pt")]) == 2
    assert "there are no such weights" in capsys.readouterr().err


def test_a_bundle_of_classes_is_refused_before_anything_is_dropped(capsys):
    assert cli.main(["demo", "--bundle", "cls_kd"]) == 2
    assert "cls_kd: its network classifies, but the demo shows masks" in capsys.readouterr().err


def test_the_page_asks_for_what_the_bundle_takes(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"")
    (tmp_path / "model.json").write_text(json.dumps({"settings": {"modalities": ["t1c", "t2f"], "epochs": 1}}))
    cases = BUNDLE.with_name("brats_seg_kd")
    assert "all files of one DICOM series" in _wanted(BUNDLE, None)
    assert _wanted(cases, tmp_path / "model.pt").endswith(
        "of one case together, one of each sequence, identified by the ends of their names: t1c, t2f"
    )


def test_weights_of_several_images_are_refused_before_anything_is_dropped(tmp_path, monkeypatch, capsys):
    """No series alone could be segmented, and every one was refused with a remedy that the page has no place for."""
    monkeypatch.setattr("ckdmed.demo.page.serve", lambda *_: None)
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"")
    for images, status in ((1, 0), (2, 2)):
        (tmp_path / "model.json").write_text(json.dumps({"settings": {"input_images": images, "epochs": 1}}))
        assert cli.main(["demo", "--checkpoint", str(weights)]) == status
    assert (
        "its network takes 2 images of each input (input_images), but a series is only one" in capsys.readouterr().err
    )


def test_weights_without_a_record_are_refused_before_anything_is_dropped(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ckdmed.demo.page.serve", lambda *_: None)
    weights = tmp_path / "own.pt"
    weights.write_bytes(b"")
    assert cli.main(["demo", "--checkpoint", str(weights)]) == 2
    said = capsys.readouterr().err
    assert f"'{weights}' has no record of what it was trained with" in said and "beside it as own.json" in said


def test_a_message_names_no_folder_of_the_demo(tmp_path, monkeypatch):
    class Refuses:
        def __init__(self, _: Path, settings: dict[str, str], __: tuple[str, ...]) -> None:
            self.inputs = settings["dataset_dir"]

        def initialize(self) -> None:
            raise ValueError(f"{self.inputs}: no case has t1n (the first: {self.inputs}/a-t1c.nii.gz)")

    monkeypatch.setattr(segmentation, "bundle_workflow", Refuses)
    (tmp_path / "a-t1c.nii.gz").write_bytes(b"")
    with pytest.raises(UnusableInput, match=r"^no case has t1n .the first: a-t1c.nii.gz.$"):
        segment([tmp_path / "a-t1c.nii.gz"], BUNDLE, tmp_path)


def test_files_that_were_passed_over_are_named(tmp_path, monkeypatch):
    class Inference:
        """Finds a mask in the one picture among the inputs."""

        def __init__(self, bundle: Path, settings: dict[str, str], configs: tuple[str, ...]) -> None:
            self.inputs, self.found = Path(settings["dataset_dir"]), Path(settings["output_dir"])

        def initialize(self) -> None:
            self.found.mkdir()

        def run(self) -> None:
            Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(self.found / "a_mask.png")
            result = {"name": "a", "input": [str(self.inputs / "a.png")], "outputs": ["a_mask.png"]}
            others = [str(self.inputs / "b.bmp")]
            report = {"counts": {"ignored": len(others)}, "ignored_examples": others, "results": [result]}
            (self.found / "report.json").write_text(json.dumps(report))

        def finalize(self) -> None:
            pass

    monkeypatch.setattr(segmentation, "bundle_workflow", Inference)
    files = [tmp_path / "a.png", tmp_path / "b.bmp"]
    for file in files:
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(file)
    (tmp_path / "work").mkdir()
    found = segment(files, BUNDLE, tmp_path / "work")
    assert found.amounts == {"tumour": "8 px"}
    assert found.warnings == ["Ignored, since they are not images of an input: b.bmp (1 of 2 files)."]


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.usefixtures("process_as_it_was")
def test_a_slice_a_series_and_what_is_neither(tmp_path, shared_data):
    write_figshare_phantoms(tmp_path / "phantoms", n_patients=1, size=64, progress=False)
    first, second = sorted((tmp_path / "phantoms").glob("[0-9]*.mat"))[:2]
    made = segment([first], BUNDLE, tmp_path)
    assert list(made.amounts) == ["tumour"] and made.amounts["tumour"].endswith(" px")
    assert {file.name.partition("_")[2] for file in made.files} == {"mask.png", "probability.png", "overlay.png"}
    with pytest.raises(UnusableInput, match="These are 2 inputs"):
        segment([first, second], BUNDLE, tmp_path)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UnusableInput, match="broken.png"):
        segment([tmp_path / "broken.png"], BUNDLE, tmp_path)
    series = sorted((shared_data / "dicom").glob("*"))
    files = sorted(file for file in series[0].iterdir() if file.is_file())[:24:2] if series else []
    if not files:
        pytest.skip("real data absent: no DICOM series")
    made = segment(files, BUNDLE, tmp_path)
    assert made.amounts["tumour"].endswith(" ml") and len(made.images.slices) == len(files)


@pytest.fixture
def demo(tmp_path):
    """The address of a running demo, and its process."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio is not installed (extra demo)")
    command = [sys.executable, "-m", "ckdmed", "demo", "--bundle", str(BUNDLE)]
    with served(command, {**os.environ, "TMPDIR": str(tmp_path)}) as running:
        yield running


@pytest.mark.slow
def test_the_page_shows_the_mask_and_asks_nothing_of_other_machines(demo, tmp_path):
    if chromium() is None:
        pytest.skip("no Chromium here")
    address, process = demo
    write_figshare_phantoms(tmp_path / "phantoms", n_patients=1, size=64, progress=False)
    slices = sorted((tmp_path / "phantoms").glob("[0-9]*.mat"))
    with Browser(chromium()) as browser:
        browser.open(address)
        browser.wait_for("!!document.querySelector('#files input[type=file]')")
        browser.drop("#files input[type=file]", slices[:1])
        browser.wait_for(f"document.querySelector('#files').textContent.includes('{slices[0].stem}')")
        browser.evaluate("document.querySelector('#segment').click()")
        browser.wait_for("!!document.querySelector('#picture img')", 180)
        assert " px" in browser.evaluate("document.querySelector('#words').textContent")
        asked = {url for url in browser.requests if not url.startswith(("data:", "blob:"))}
        assert asked and all(url.startswith(address) for url in asked)
        # nor is there a button that would
        words = "[b.textContent, b.title, b.ariaLabel, b.href].join(' ').toLowerCase()"
        buttons = browser.evaluate(f"[...document.querySelectorAll('button, a')].map(b => {words})")
        assert any("download" in text for text in buttons)
        assert not [text for text in buttons if "share" in text or "http" in text.replace(address, "")]
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # what was dropped is gone with the demo
    assert list(tmp_path.glob("ckdmed-demo-*"))
    process.send_signal(signal.SIGINT)
    process.wait(60)
    assert not list(tmp_path.glob("ckdmed-demo-*"))
