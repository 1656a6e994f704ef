"""A thousand images, a full disk: memory stays bounded, and what cannot be taken is refused."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ckdmed.bundle_files import bundle_folder
from tests.dicom_node.harness import QUICK_WORKER, Archive, Node, running, send, wait_for
from tests.dicom_results.mr_series import write_mr_series
from tests.small_disk import small_disk

# a GiB, with some room for other versions of what is below
_IMAGES, _MOST = 1000, 900 << 20


def _small_bundle(folder: Path) -> Path:
    """seg_kd at a size at which a thousand slices take a minute; its memory besides the network is the same."""
    shutil.copytree(bundle_folder("seg_kd"), folder / "seg_kd")
    record = folder / "seg_kd" / "models" / "model.json"
    trained = json.loads(record.read_text())
    trained["runs"][-1]["settings"]["image_size"] = 64
    record.write_text(json.dumps(trained))
    config = folder / "seg_kd" / "inference.json"
    values = json.loads(config.read_text()) | {"tta": False}
    config.write_text(json.dumps(values))
    return folder / "seg_kd"


def _resident(pid: int) -> int:
    """Bytes that a process and its children have in memory now."""
    total = 0
    try:
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += _resident(int(child))
    except (FileNotFoundError, ProcessLookupError):
        return total
    return total


# With the shipped network it takes ten minutes of one core, with the small one three.
@pytest.mark.slow
@pytest.mark.parametrize("shipped", [False, True])
def test_a_thousand_images_fit_into_a_gib(tmp_path, shipped):
    rng = np.random.default_rng(0)
    files = write_mr_series(tmp_path / "mr", rng.integers(0, 1000, (256, 256, _IMAGES)), spacing=(0.9, 0.9, 0.5))
    bundle = bundle_folder("seg_kd") if shipped else _small_bundle(tmp_path)
    with Archive() as archive:
        node = Node(tmp_path, archive.port, "--send-unintended", "--bundle", str(bundle), quiet=20)
        with running(node):
            most = [0]
            done = threading.Event()

            def watch() -> None:
                while not done.wait(0.05):
                    most[0] = max(most[0], _resident(node.process.pid))

            threading.Thread(target=watch, daemon=True).start()
            try:
                assert send(node.port, files) == [0x0000] * _IMAGES
                assert most[0] < 200 << 20, "receiving"
                wait_for(lambda: len(archive.objects) == 2, 3600, "the results")
            finally:
                done.set()
                print(f"most memory: {most[0] / 2**20:.0f} MiB", node.text()[-3000:])
            assert most[0] < _MOST
            assert node.stop() == 0
    (segmentation,) = archive.of("SEG")
    assert len(segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == _IMAGES


@pytest.mark.slow
def test_a_full_disk_is_answered_and_nothing_half_stays(tmp_path):
    files = write_mr_series(tmp_path / "mr", np.zeros((256, 256, 12), int))
    with small_disk(tmp_path / "disk", 1024) as disk, Archive() as archive:
        node = Node(
            disk.place, archive.port, "--min-free-mib", "0", "--health-every", "0.2", worker=QUICK_WORKER, quiet=5
        )
        node.log = tmp_path / "node.log"
        with running(node):
            # an archive sends what was refused again, later
            statuses = send(node.port, files)
            taken = statuses.count(0x0000)
            assert 0 < taken < 12 and set(statuses[taken:]) <= {0xA700, None}
            assert len(list(node.spool.glob("series/*/images/*.dcm"))) == taken
            disk.resize(20000)
            for file in files[taken:]:
                assert send(node.port, [file]) == [0x0000]
            wait_for(lambda: len(archive.objects) == 2)
            assert {item.ImageComments for item in archive.objects.values()} == {"of 12 images"}
            assert node.process.poll() is None
            time.sleep(0.5)
            assert node.stop() == 0
        assert "disk" in node.text()


@pytest.mark.slow
def test_too_little_room_is_said_before_the_disk_is_full(tmp_path):
    files = write_mr_series(tmp_path / "mr", np.zeros((256, 256, 12), int))
    with small_disk(tmp_path / "disk", 2048) as disk, Archive() as archive:
        node = Node(disk.place, archive.port, worker=QUICK_WORKER, quiet=5)
        node.log = tmp_path / "node.log"
        with running(node):
            statuses = send(node.port, files)
            taken = statuses.count(0x0000)
            # 1 MiB is to stay free
            assert 4 <= taken < 9 and set(statuses[taken:]) <= {0xA700, None}
            assert "not enough space" in node.text()
            assert node.stop() == 0
