"""The round trip with a real archive: a series in, Segmentation and report out, voxels and geometry equal."""

from __future__ import annotations

import io
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from ckdmed.bundle.workflow import bundle_folder, bundle_workflow
from ckdmed.data.dicom_series import read_dicom_volume
from tests.dicom_node.harness import Node, running, send, wait_for
from tests.dicom_node.orthanc import orthanc


def _inferred(files: list[Path], folder: Path) -> np.ndarray:
    """The mask (columns, rows, slices) of the bundle's own inference over the whole series."""
    inputs = folder / "inputs"
    inputs.mkdir(parents=True)
    for file in files:
        (inputs / file.name).symlink_to(file)
    settings = {"dataset_dir": str(inputs), "output_dir": str(folder / "out"), "device": "cpu"}
    workflow = bundle_workflow(bundle_folder("seg_kd"), settings, ("inference.json",))
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    (mask,) = (folder / "out").rglob("*_mask.nii.gz")
    return np.asarray(nib.load(mask).dataobj)


def _placed(segmentation, volume_shape, affine) -> np.ndarray:
    """Each frame where its own position in the patient says."""
    found = np.zeros(volume_shape, np.uint8)
    back = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ affine)
    frames = segmentation.pixel_array.reshape(-1, volume_shape[1], volume_shape[0])
    for groups, frame in zip(segmentation.PerFrameFunctionalGroupsSequence, frames, strict=True):
        index = back @ [*map(float, groups.PlanePositionSequence[0].ImagePositionPatient), 1]
        assert np.allclose(index[:2], 0, atol=1e-3) and abs(index[2] - round(index[2])) < 1e-3
        found[:, :, round(index[2])] = frame.T
    return found


@pytest.mark.slow
def test_a_series_goes_through_a_real_archive(tmp_path, shared_data):
    files = sorted((shared_data / "dicom" / "t1w").iterdir())[20:26]
    node = Node(tmp_path, 1, "--send-unintended", quiet=2)
    with orthanc(tmp_path / "orthanc", node.port) as archive:
        node.program[node.program.index("--send-to") + 1] = f"ARCHIVE@127.0.0.1:{archive.port}"
        with running(node):
            assert send(archive.port, files, title="SCANNER", called="ARCHIVE") == [0x0000] * len(files)
            wait_for(lambda: archive.find("SEG") and archive.find("SR"), 300, "the results in the archive")
            wait_for(lambda: [s["stage"] for s in node.states().values()] == ["sent"])
            assert node.stop() == 0
        (segment,), (report,) = archive.find("SEG"), archive.find("SR")
        segmentation = highdicom.seg.Segmentation.from_dataset(
            dcmread(io.BytesIO(archive.get(f"/instances/{segment}/file")))
        )
        structured = dcmread(io.BytesIO(archive.get(f"/instances/{report}/file")))
        study = str(segmentation.StudyInstanceUID)
        listed = archive.json(f"/dicom-web/studies/{study}/series", accept="application/dicom+json")
        assert sorted(item["00080060"]["Value"][0] for item in listed) == ["MR", "SEG", "SR"]
        # nothing went round again: the archive sends MR alone, and the node takes nothing else
        assert len(archive.find("SEG")) == 1
    volume, affine = read_dicom_volume(files)
    wanted = _inferred(files, tmp_path / "plain")
    assert wanted.any()
    assert np.array_equal(_placed(segmentation, volume.shape, affine), wanted)
    first = dcmread(files[0])
    assert segmentation.FrameOfReferenceUID == first.FrameOfReferenceUID and study == first.StudyInstanceUID
    (state,) = node.states().values()
    assert any("contrast" in reason for reason in state["unintended"])
    assert "contrast" in segmentation.SegmentSequence[0].SegmentDescription
    assert "UNINTENDED INPUT" in structured.SeriesDescription
    assert "Jane" not in node.text()
    assert not any("Jane" in path.read_text(errors="replace") for path in node.spool.rglob("worker.log"))
