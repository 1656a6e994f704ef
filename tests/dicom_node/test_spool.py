from __future__ import annotations

import json

import pytest

from ckdmed.dicom_node.settings import Destination, NodeSettings, parse_destination
from ckdmed.dicom_node.spool import SeriesState, Spool, SpoolBusyError


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool")
    yield spool
    spool.close()


def _received(spool, text="image"):
    path = spool.receiving / "new.dcm"
    path.write_text(text)
    return path


def _again(spool):
    spool.close()
    again = Spool(spool.folder)
    # closed by the fixture
    spool._lock_file = again._lock_file
    return again


def test_an_image_is_taken_once_and_stays(spool):
    assert spool.add("1.2", "3.4", _received(spool))
    assert not spool.add("1.2", "3.4", _received(spool, "another"))
    assert spool.image("1.2", "3.4").read_text() == "image"
    again = _again(spool)
    assert (again.names(), again.images("1.2"), again.count("9")) == (["1.2"], ["3.4"], 0)
    assert not list(again.receiving.iterdir()), "what was half received is gone"


def test_a_state_holds_for_its_images_alone(spool):
    spool.add("1.2", "3.4", _received(spool))
    waiting = spool.state("1.2")
    assert waiting.stage == "waiting" and spool.waiting() == 1
    spool.note("1.2", SeriesState(waiting.digest, "to send", results=("seg.dcm", "sr.dcm")))
    assert spool.note_sent("1.2", "seg.dcm", waiting.digest).stage == "to send"
    assert _again(spool).state("1.2").sent == ("seg.dcm",)
    assert spool.note_sent("1.2", "sr.dcm", waiting.digest).stage == "sent" and spool.waiting() == 0
    spool.add("1.2", "3.5", _received(spool))
    assert spool.state("1.2").stage == "waiting" and spool.state("1.2").sent == ()


def test_what_is_confirmed_late_is_not_taken_for_results_of_the_images_since(spool):
    results = ("seg.dcm", "sr.dcm")
    spool.add("1.2", "3.4", _received(spool))
    before = spool.state("1.2").digest
    spool.note("1.2", SeriesState(before, "to send", results=results))
    spool.add("1.2", "3.5", _received(spool))
    spool.note("1.2", SeriesState(spool.state("1.2").digest, "to send", results=results))
    for name in results:
        spool.note_sent("1.2", name, before)
    assert (spool.state("1.2").stage, spool.state("1.2").sent) == ("to send", ())


def test_only_finished_series_expire(spool):
    for series in ("1.1", "1.2"):
        spool.add(series, "3", _received(spool))
    spool.note("1.1", SeriesState(spool.state("1.1").digest, "sent"))
    assert spool.remove_expired(3600) == []
    assert spool.remove_expired(0) == ["1.1"]
    assert spool.names() == ["1.2"] and not spool.place("1.1").exists()


def test_one_node_a_spool(spool):
    with pytest.raises(SpoolBusyError, match="another node uses this spool"):
        Spool(spool.folder)


@pytest.mark.parametrize("series", ["../1", "a/b", "", ".hidden"])
def test_no_name_leads_out(spool, series):
    with pytest.raises(ValueError, match="cannot be the name"):
        spool.add(series, "3", _received(spool))


def test_a_damaged_state_is_named(spool):
    spool.add("1.2", "3.4", _received(spool))
    spool.place("1.2", "state.json").write_text(json.dumps({"digest": 1, "stages": "x"}))
    with pytest.raises(ValueError, match="state.json: not the state of a series"):
        _again(spool)


def test_destinations():
    assert parse_destination("ARCHIVE@127.0.0.1:4242") == Destination("ARCHIVE", "127.0.0.1", 4242)
    assert parse_destination("A B@[::1]:104") == Destination("A B", "::1", 104)
    for text in ("ARCHIVE", "ARCHIVE@host", "ARCHIVE@host:0", "ARCHIVE@host:70000", "A" * 17 + "@host:1"):
        with pytest.raises(ValueError, match="TITLE@HOST:PORT|port of|AE title"):
            parse_destination(text)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"title": "A" * 17}, "AE title"),
        ({"allowed": ("A\\B",)}, "AE title"),
        ({"bind": "nowhere"}, "--bind needs an address"),
        ({"port": -1}, "--port"),
        ({"quiet_s": 0}, "quiet_s must be above 0"),
        ({"max_series": 0}, "max_series must be above 0"),
        ({"keep_hours": -1}, "keep_hours must be at least 0"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        NodeSettings(tmp_path, Destination("ARCHIVE", "127.0.0.1", 104), tmp_path, **values)
