from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import signal
import stat
from pathlib import Path

import pytest
import torch

from ckdmed.files import DiskFullError, load_weights, naming_full_disk, save_weights, write_atomic, write_json


def test_writes_beside_and_puts_in_place(tmp_path: Path):
    target = tmp_path / "new" / "picture.png"
    seen = []

    def write(path: Path) -> None:
        seen.append(path)
        assert not target.exists()
        path.write_bytes(b"whole")

    assert write_atomic(target, write) == target
    assert target.read_bytes() == b"whole"
    assert seen[0].parent == target.parent and seen[0].suffix == ".png"
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("before")

    def write(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(target, write)
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_files_get_the_mode_that_the_umask_asks_for(tmp_path: Path):
    before = os.umask(0o027)
    try:
        path = write_json(tmp_path / "a.json", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def _end_at_once(path: Path) -> None:
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_next_write_in_a_folder_removes_what_a_killed_one_left(tmp_path: Path):
    forked = multiprocessing.get_context("fork")
    killed = forked.Process(target=write_atomic, args=(tmp_path / "a.json", _end_at_once))
    killed.start()
    killed.join()
    assert killed.exitcode == -9 and [p.read_text() for p in tmp_path.iterdir()] == ["half"]
    (tmp_path / "precious").write_text("mine")
    # another process is in the midst of writing, and is let finish
    writing, go_on = forked.Event(), forked.Event()

    def write_in_two(path: Path) -> None:
        path.write_text("half")
        writing.set()
        assert go_on.wait(60)

    other = forked.Process(target=write_atomic, args=(tmp_path / "b.json", write_in_two))
    other.start()
    assert writing.wait(60)
    write_json(tmp_path / "a.json", 1)
    assert len(list(tmp_path.glob(".writing-*"))) == 1
    go_on.set()
    other.join()
    assert other.exitcode == 0
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "a.json": "1\n",
        "b.json": "half",
        "precious": "mine",
    }


def test_json(tmp_path: Path):
    path = write_json(tmp_path / "a.json", {"b": [1, 2.5, None], "device": torch.device("cpu")})
    assert path.read_text().endswith("}\n")
    assert json.loads(path.read_text()) == {"b": [1, 2.5, None], "device": "cpu"}


def test_weights_come_back(tmp_path: Path):
    state = {"w": torch.randn(3), "n": {"epoch": 3, "name": "x", "nothing": None, "list": [1.5, (2, True)]}}
    loaded = load_weights(save_weights(tmp_path / "a.pt", state))
    assert torch.equal(loaded["w"], state["w"]) and loaded["n"] == state["n"]


def test_missing_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no checkpoint '.*none.pt'"):
        load_weights(tmp_path / "none.pt")


@pytest.mark.parametrize("damage", ["empty", "text", "truncated"])
def test_damaged_files_are_named(tmp_path: Path, damage: str):
    path = save_weights(tmp_path / "broken.pt", {"w": torch.zeros(1000)})
    content = {"empty": b"", "text": b"no weights here", "truncated": path.read_bytes()[:2000]}[damage]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.pt' cannot be read as a checkpoint.*damaged"):
        load_weights(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickled_objects_are_not_loaded(tmp_path: Path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(marker),))

    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    torch.save({"w": Evil()}, tmp_path / "torch.pt")
    for name in ("plain.pt", "torch.pt"):
        with pytest.raises(ValueError, match="pickled objects, which are not loaded"):
            load_weights(tmp_path / name)
    assert not marker.exists()


def test_a_full_disk_names_the_file_and_what_to_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError, match=r"a\.json' could not be written: No space left .*Free some space there"):
        write_atomic(tmp_path / "a.json", full)
    monkeypatch.setattr("ckdmed.files._Noting.write", full)
    with pytest.raises(RuntimeError):
        save_weights(tmp_path / "b.pt", {"a": torch.zeros(3)})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named_whoever_writes_and_though_there_is_no_folder_yet(tmp_path: Path):
    target = tmp_path / "a" / "b" / "events"
    with pytest.raises(DiskFullError, match=r"events' could not be written: No space.* on the disk of .*Free some"):
        with naming_full_disk(target):
            raise OSError(errno.ENOSPC, "No space left on device")
    # as NumPy's tofile tells it
    with pytest.raises(DiskFullError) as caught, naming_full_disk(target):
        raise OSError("4096 requested and 0 written")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(PermissionError), naming_full_disk(target):
        raise PermissionError(errno.EACCES, "Permission denied")
