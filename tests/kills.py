"""Work that is killed at one of its writes, in a process of its own, and what must hold when it was taken up again."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

# gets the folder to work in, and whether an earlier try was killed
Work = Callable[[Path, bool], Any]
# what of a checkpoint to go on from is compared
_TRAINED = ("student", "network", "teacher_network", "optimizer", "lr_scheduler")


def forked(work: Callable[[], Any], log: Path, kill_at: int | None = None) -> int | None:
    """Do ``work`` in a fork that SIGKILL ends at its ``kill_at``-th `os.replace`, before the file is in its place.

    Returns:
        how many files were put in place, or None where the process was killed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    count = log.with_suffix(".count")
    pid = os.fork()
    if pid == 0:
        _child(work, log, count, kill_at)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and kill_at is not None:
        return None
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, log.read_text(errors="replace")[-3000:]
    return int(count.read_text())


def _child(work: Callable[[], Any], log: Path, count: Path, kill_at: int | None) -> None:
    status = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        replace, done = os.replace, 0

        def counted(*args: Any, **kwargs: Any) -> None:
            nonlocal done
            done += 1
            if done == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(*args, **kwargs)

        os.replace = counted  # type: ignore[assignment]
        torch.manual_seed(0)
        work()
        count.write_text(str(done))
        status = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def check_kills(work: Work, folder: Path, most: int) -> int:
    """Kill ``work`` at up to ``most`` of its writes, evenly spread; each time it is taken up and must end as unbroken.

    Returns:
        how many times it was killed.
    """
    place, whole, log = folder / "place", folder / "whole", folder / "log"
    writes = forked(lambda: work(place, False), log)
    assert writes
    place.rename(whole)
    expected = outcome(whole)
    points = (
        range(1, writes + 1) if writes <= most else sorted({1 + n * (writes - 1) // (most - 1) for n in range(most)})
    )
    for point in points:
        assert forked(lambda: work(place, False), log, kill_at=point) is None, f"no write {point} of {writes}"
        forked(lambda: work(place, True), log)
        found = outcome(place)
        assert sorted(found) == sorted(expected), (point, sorted(set(found) ^ set(expected)))
        different = [name for name, content in expected.items() if found[name] != content]
        assert not different, (point, different)
        shutil.rmtree(place)
    return len(points)


def outcome(folder: Path) -> dict[str, Any]:
    """All files below a folder with their content, without what tells the time; event files by their folder alone."""
    files: dict[str, Any] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        # of each run its settings, among them whether it was resumed, are noted
        if path.name == "settings.json":
            files[name] = None
        elif path.name.startswith("events.out.tfevents"):
            files[path.parent.relative_to(folder).as_posix() + "/events"] = None
        elif path.suffix in (".json", ".jsonl"):
            lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            files[name] = [_without_time(json.loads(line)) for line in lines]
        elif path.suffix == ".entry":
            # a cache's, named after the times of the sources, which are drawn anew here
            content = files.setdefault(path.parent.relative_to(folder).as_posix() + "/entries", [])
            content.append(path.read_bytes()[16:])
            content.sort()
        elif path.suffix == ".pt":
            state = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
            if path.name.startswith("resume_"):
                # beside them lie the times that were needed
                state = {key: state[key] for key in _TRAINED if key in state}
                assert state, f"{path} holds none of {_TRAINED}"
            files[name] = _plain(state)
        elif path.suffix != ".png":
            files[name] = path.read_bytes()
        else:
            files[name] = None
    return files


def _without_time(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: entry for key, entry in value.items() if not key.endswith(("seconds", "time", "date", "created"))}
        return {key: _without_time(entry) for key, entry in kept.items()}
    return [_without_time(entry) for entry in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items() if not str(key).endswith("seconds")}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
