"""kill -9 of the node at any moment: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.dicom_node.harness import QUICK_WORKER, Archive, Node, send, wait_for
from tests.dicom_results.mr_series import write_mr_series

IMAGES = 8


def _images(node: Node) -> int:
    return len(list(node.spool.glob("series/*/images/*.dcm")))


def _send_until_all_are_taken(port: int, files) -> list[int]:
    """As an archive does: what was not confirmed is sent again, until it is."""
    left, rounds = list(files), 0
    while left:
        statuses = send(port, left, timeout=2)
        left = [file for file, status in zip(left, statuses, strict=True) if status != 0x0000]
        rounds += 1
        assert rounds < 200
        time.sleep(0.1)
    return rounds


# name -> when the kill comes, as a condition on the node, its spool and the archive
MOMENTS: dict[str, Callable[[Node, Archive], bool]] = {
    "before anything came": lambda node, archive: True,
    "at the first image": lambda node, archive: _images(node) >= 1,
    "in the middle of the images": lambda node, archive: _images(node) >= IMAGES // 2,
    "at the last image": lambda node, archive: _images(node) >= IMAGES,
    "when the worker starts": lambda node, archive: bool(list(node.spool.glob("series/*/worker.log"))),
    "while the worker works": lambda node, archive: bool(list(node.spool.glob("series/*/results/.*"))),
    "when the results are there": lambda node, archive: bool(list(node.spool.glob("series/*/results/*/outcome.json"))),
    "before the first is sent": lambda node, archive: "to send" in [s["stage"] for s in node.states().values()],
    "between the first and the second": lambda node, archive: len(archive.objects) >= 1,
    "when all are sent": lambda node, archive: len(archive.objects) >= 2,
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_nothing_is_lost_and_nothing_done_twice(tmp_path, monkeypatch, moment):
    monkeypatch.setenv("QUICK_WORKER_SECONDS", "0.7")
    files = write_mr_series(tmp_path / "mr", np.random.default_rng(0).integers(0, 500, (64, 64, IMAGES)))
    with Archive() as archive:
        archive.delay_s = 0.3
        # longer than the sender needs to come back, or the images before the kill are a series by themselves
        node = Node(tmp_path, archive.port, worker=QUICK_WORKER, quiet=4).start()
        sender = threading.Thread(target=_send_until_all_are_taken, args=(node.port, files), daemon=True)
        if moment != "before anything came":
            sender.start()
        wait_for(lambda: MOMENTS[moment](node, archive), what=moment)
        node.kill()
        if not sender.is_alive() and moment == "before anything came":
            sender.start()
        made = node.made()
        node.start()
        try:
            sender.join(60)
            wait_for(lambda: _images(node) == IMAGES)
            wait_for(lambda: {s["stage"] for s in node.states().values()} == {"sent"})
            time.sleep(1)
            assert _images(node) == IMAGES
            assert {item.ImageComments for item in archive.objects.values()} == {f"of {IMAGES} images"}
            assert len(archive.objects) == 2
            assert node.made() == 1, f"{made} before the kill"
            # the archive's answer may be lost with the node; the same object then comes again, and is one object
            assert sum(archive.times.values()) <= 3
            assert node.stop() == 0
        finally:
            if node.process.poll() is None:
                node.kill()


@pytest.mark.slow
def test_two_senders_at_once(tmp_path):
    one = write_mr_series(tmp_path / "one", np.random.default_rng(0).integers(0, 500, (64, 64, 20)), patient="P1")
    two = write_mr_series(tmp_path / "two", np.random.default_rng(1).integers(0, 500, (64, 64, 20)), patient="P2")
    with Archive() as archive:
        node = Node(tmp_path, archive.port, "--allow", "ONE", "TWO", worker=QUICK_WORKER).start()
        statuses: list[int | None] = []
        # each sends its own series, then both the same
        plans = [("ONE", one + two[:10]), ("TWO", two + one[:10])]
        threads = [
            threading.Thread(target=lambda p=plan: statuses.extend(send(node.port, p[1], title=p[0]))) for plan in plans
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        try:
            assert statuses == [0x0000] * 60
            wait_for(lambda: len(archive.objects) == 4)
            assert {item.ImageComments for item in archive.objects.values()} == {"of 20 images"}
            assert {str(item.PatientID) for item in archive.objects.values()} == {"P1", "P2"}
            assert node.stop() == 0
        finally:
            if node.process.poll() is None:
                node.kill()
    assert set(archive.times.values()) == {1} and node.made() == 2
