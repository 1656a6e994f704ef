from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from ckdmed.checked_entries import DamagedEntry, file_stamps, read_entry, sealed, unsealed, write_entry


def test_an_entry_comes_back_and_may_be_written_to(tmp_path: Path):
    values = np.arange(5, dtype=np.float32)
    write_entry(tmp_path / "a.entry", "a", [b"12345678", values])
    content = read_entry(tmp_path / "a.entry", "a")
    assert content[:8].tobytes() == b"12345678" and np.array_equal(content[8:].view(np.float32), values)
    content[:] = 0
    assert os.listdir(tmp_path) == ["a.entry"]
    with pytest.raises(FileNotFoundError):
        read_entry(tmp_path / "b.entry", "b")


def test_no_flipped_bit_no_cut_and_no_other_name_is_believed(tmp_path: Path):
    path = tmp_path / "a.entry"
    write_entry(path, "a", [bytes(range(40))])
    whole = path.read_bytes()
    flipped = [
        bytes(b ^ (1 << bit if n == at else 0) for n, b in enumerate(whole)) for at in range(56) for bit in range(8)
    ]
    cuts = [whole[:length] for length in range(len(whole))]
    for damaged in [*flipped, *cuts, whole + b"\0", bytes(56), whole[:16] + bytes(40)]:
        path.write_bytes(damaged)
        with pytest.raises(DamagedEntry, match="a.entry (was cut short|does not match)"):
            read_entry(path, "a")
    path.write_bytes(whole)
    with pytest.raises(DamagedEntry, match="does not match its checksum"):
        read_entry(path, "b")
    path.unlink()
    path.mkdir()
    with pytest.raises(DamagedEntry, match="cannot be read"):
        read_entry(path, "a")


def test_a_table_that_was_changed_is_told_from_one_that_was_not(tmp_path: Path):
    path = tmp_path / "t.json"
    table = {"b": [1, 2.5, "ä"], "a": {"c": None}, "tuple": (1, 2)}
    path.write_text(json.dumps(sealed(table), indent=2))
    assert unsealed(path) == {**table, "tuple": [1, 2]}
    text = path.read_bytes()
    for at in range(len(text)):
        path.write_bytes(text[:at] + bytes([text[at] ^ 4]) + text[at + 1 :])
        with pytest.raises(DamagedEntry, match="t.json"):
            assert unsealed(path) == {**table, "tuple": [1, 2]}
            # a space for another kind of blank
            raise DamagedEntry("t.json")
    for content in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000, json.dumps(table).encode()):
        path.write_bytes(content)
        with pytest.raises(DamagedEntry, match="t.json"):
            unsealed(path)


@pytest.mark.skipif(os.name == "nt", reason="there the second time is that of the creation")
def test_content_of_equal_size_and_time_is_noticed(tmp_path: Path):
    path, series = tmp_path / "a", tmp_path / "series"
    series.mkdir()
    (series / "1.dcm").write_bytes(b"one")
    path.write_bytes(b"one")
    stamps, status = file_stamps([path, series]), os.stat(path)
    assert file_stamps([path, series]) == stamps
    for changed in (path, series / "1.dcm"):
        before = os.stat(changed)
        changed.write_bytes(b"two")
        os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
        now = file_stamps([path, series])
        assert now != stamps
        stamps = now
    assert os.stat(path).st_mtime_ns == status.st_mtime_ns and os.stat(path).st_size == status.st_size
    with pytest.raises(OSError):
        file_stamps([tmp_path / "b"])
