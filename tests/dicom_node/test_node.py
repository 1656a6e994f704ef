"""The node as a process, with a worker that needs no network."""

from __future__ import annotations

import socket
import struct
import time

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian, SecondaryCaptureImageStorage, SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import MRImageStorage, Verification

from tests.dicom_node.harness import QUICK_WORKER, Archive, Node, running, send, wait_for
from tests.dicom_results.mr_series import write_mr_series

IMAGES = 5


@pytest.fixture
def series(tmp_path):
    def make(name="mr", images=IMAGES, **header):
        volume = np.random.default_rng(0).integers(0, 500, (16, 12, images))
        return write_mr_series(tmp_path / name, volume, **header)

    return make


@pytest.fixture
def archive():
    with Archive() as archive:
        yield archive


def _without(file, *keywords, **values):
    dataset = dcmread(file)
    for keyword in keywords:
        del dataset[keyword]
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def test_a_series_comes_in_and_its_results_go_out(series, archive, tmp_path):
    # of which libraries that validate say that they are odd
    files = series(patient="Secret7" * 12, name="Secret^Name\\Secret=2=3=4=5")
    with running(Node(tmp_path, archive.port, worker=QUICK_WORKER)) as node:
        # strangers, and things that are no MR image, stay outside
        assert send(node.port, files[:1], title="STRANGER") == [None]
        assert send(node.port, files[:1], called="OTHER") == [None]
        assert send(node.port, files[:1], contexts=[SegmentationStorage]) == [None]
        refused = [
            _without(files[0], "SeriesInstanceUID"),
            _without(files[0], SeriesInstanceUID="../../x"),
            _without(files[0], "FrameOfReferenceUID"),
            _without(files[0], Modality="CT"),
        ]
        assert send(node.port, refused, contexts=[MRImageStorage, CTImageStorage]) == [0xC000, 0xC000, 0xC000, 0xA900]
        assert send(node.port, files) == [0x0000] * IMAGES
        wait_for(lambda: len(archive.objects) == 2)
        # the same images again change nothing
        assert send(node.port, files[:2]) == [0x0000] * 2
        (state,) = node.states().values()
        assert (state["stage"], set(state["sent"])) == ("sent", {"seg.dcm", "sr.dcm"})
        time.sleep(1)
        assert node.stop() == 0
    assert set(archive.times.values()) == {1} and node.made() == 1
    assert {str(item.PatientID) for item in archive.objects.values()} == {"Secret7" * 12}
    text = node.text() + (node.spool / "health.json").read_text()
    assert "Secret" not in text and "Traceback" not in text
    assert "images received 5, refused 4; series waiting 0, to send 0, failed 0, refused 0, sent 1" in text
    assert not list((node.spool / "receiving").iterdir())
    assert not list(tmp_path.rglob("x")), "no UID leads out of the spool"


@pytest.mark.slow
def test_results_of_unintended_inputs_stay_unless_told(series, archive, tmp_path, monkeypatch):
    monkeypatch.setenv("QUICK_WORKER_STATUS", "outside")
    files = series()
    node = Node(tmp_path, archive.port, worker=QUICK_WORKER)
    with running(node):
        assert send(node.port, files) == [0x0000] * IMAGES
        wait_for(lambda: [s["stage"] for s in node.states().values()] == ["withheld"])
        # an image that comes late makes another series of it
        (late,) = series("other", images=1)
        first = dcmread(files[0])
        shared = {name: first[name].value for name in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")}
        assert send(node.port, [_without(late, **shared)]) == [0x0000]
        wait_for(lambda: node.made() == 2)
        wait_for(lambda: [s["stage"] for s in node.states().values()] == ["withheld"])
        node.stop()
    assert not archive.objects and "--send-unintended" in node.text()
    (made,) = node.spool.glob("series/*/made.txt")
    assert made.read_text().split() == [str(IMAGES), str(IMAGES + 1)]
    node.program.append("--send-unintended")
    with running(node):
        wait_for(lambda: len(archive.objects) == 2)
    assert {item.ImageComments for item in archive.objects.values()} == {f"of {IMAGES + 1} images"}


@pytest.mark.slow
def test_a_second_node_does_not_share_a_spool(archive, tmp_path):
    with running(Node(tmp_path, archive.port, worker=QUICK_WORKER)):
        second = Node(tmp_path, archive.port, worker=QUICK_WORKER)
        with pytest.raises(AssertionError, match="another node uses this spool"):
            second.start()


@pytest.mark.slow
def test_a_worker_that_dies_is_tried_three_times(series, archive, tmp_path, monkeypatch):
    monkeypatch.setenv("QUICK_WORKER_STATUS", "9")
    with running(Node(tmp_path, archive.port, worker=QUICK_WORKER)) as node:
        send(node.port, series())
        wait_for(lambda: [s["stage"] for s in node.states().values()] == ["failed"])
    (state,) = node.states().values()
    assert state["attempts"] == 3 and state["cause"] == "the worker ended with status 9: something went wrong"


@pytest.mark.slow
def test_an_archive_of_implicit_values_alone_gets_results_too(series, tmp_path):
    entity, got = AE("ARCHIVE"), []
    entity.add_supported_context(SecondaryCaptureImageStorage, ImplicitVRLittleEndian)

    def store(event):
        got.append(event.dataset)
        return 0x0000

    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        with running(Node(tmp_path, server.socket.getsockname()[1], worker=QUICK_WORKER)) as node:
            send(node.port, series())
            wait_for(lambda: len(got) == 2)
            assert {item.ImageComments for item in got} == {f"of {IMAGES} images"}
    finally:
        server.shutdown()


@pytest.mark.slow
def test_results_wait_for_an_archive_that_is_away_or_full(series, tmp_path):
    with Archive() as away:
        port = away.port
    with running(Node(tmp_path, port, worker=QUICK_WORKER)) as node:
        send(node.port, series())
        wait_for(lambda: "does not accept a connection. Trying again" in node.text())
        with Archive(port=port) as archive:
            archive.status = 0xA700
            wait_for(lambda: "refused seg.dcm with status 0xA700" in node.text())
            assert not archive.objects
            archive.status = 0x0000
            wait_for(lambda: [s["stage"] for s in node.states().values()] == ["sent"])
            assert set(archive.times.values()) == {1}
    assert node.made() == 1


def test_a_result_that_cannot_be_read_keeps_no_other_from_being_sent(series, archive, tmp_path):
    archive.status = 0xA700
    with running(Node(tmp_path, archive.port, worker=QUICK_WORKER)) as node:
        send(node.port, series("one"))
        wait_for(lambda: "refused seg.dcm" in node.text(), what="a first try")
        (damaged,) = node.spool.glob("series/*/results/*/seg.dcm")
        # as after a power failure
        damaged.write_bytes(b"")
        wait_for(lambda: "cannot be sent" in node.text(), what="the damage to be found")
        assert "Doe" not in node.text()
        archive.status = 0x0000
        send(node.port, series("two"))
        wait_for(lambda: len(archive.objects) == 2, what="the results of the other series")


def test_a_part_of_a_series_that_is_too_long_is_not_taken_for_all_of_it(series, archive, tmp_path):
    with running(Node(tmp_path, archive.port, "--max-instances", "3", worker=QUICK_WORKER)) as node:
        long, whole = series("long"), series("whole", images=3)
        assert send(node.port, [*long, *whole]) == [0, 0, 0, 0xA700, 0xA700, 0, 0, 0]
        # whoever missed an answer sends again
        assert send(node.port, whole[:1]) == [0]
        wait_for(lambda: sorted(state["stage"] for state in node.states().values()) == ["refused", "sent"])
        assert node.made() == 1 and "it has more than 3 images, the limit" in node.text()


@pytest.mark.slow
def test_limits_are_answered_to_the_sender(series, archive, tmp_path):
    options = ("--max-instances", "3", "--max-series", "2", "--max-instance-mib", "1", "--log-patients")
    with running(Node(tmp_path, archive.port, *options, worker=QUICK_WORKER, quiet=60)) as node:
        assert send(node.port, series()) == [0, 0, 0, 0xA700, 0xA700]
        assert send(node.port, series("second", patient="P2", images=1)) == [0]
        assert send(node.port, series("third", patient="P3", images=1)) == [0xA700]
        (large,) = write_mr_series(tmp_path / "large", np.zeros((900, 900, 1), int))
        assert send(node.port, [large]) == [None]
        wait_for(lambda: "its file is larger than 1048576 bytes" in node.text())
        assert "of patient P1 Doe^Jane" in node.text()
        # the others go on
        entity = AE("ARCHIVE")
        entity.add_requested_context(Verification)
        association = entity.associate("127.0.0.1", node.port, ae_title="CKDMED")
        assert association.send_c_echo().Status == 0x0000
        association.release()
        assert "Traceback" not in node.text()


@pytest.mark.slow
def test_a_transfer_that_breaks_leaves_nothing(series, archive, tmp_path):
    files = write_mr_series(tmp_path / "mr", np.zeros((256, 256, 1), int))
    with running(Node(tmp_path, archive.port, worker=QUICK_WORKER)) as node:
        # in the middle of the pixels the cable is pulled
        entity = AE("ARCHIVE")
        entity.add_requested_context(MRImageStorage)
        entity.maximum_pdu_size = 4096
        entity.network_timeout = entity.dimse_timeout = 2
        association = entity.associate("127.0.0.1", node.port, ae_title="CKDMED")
        raw = association.dul.socket.socket
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sent = 0

        def pulled(data, *_, send=raw.send):
            nonlocal sent
            sent += len(data)
            if sent > 20000:
                raw.close()
                return len(data)
            return send(data)

        association.dul.socket.send = pulled
        try:
            association.send_c_store(dcmread(files[0]))
        except (RuntimeError, ValueError, OSError):
            pass
        time.sleep(2)
        assert not list(node.spool.glob("series/*"))
        # and again, whole
        assert send(node.port, files) == [0x0000]
        wait_for(lambda: len(archive.objects) == 2)
        assert node.stop() == 0
    # what the broken one left goes at the next start at the latest
    with running(node):
        assert not list((node.spool / "receiving").iterdir())
