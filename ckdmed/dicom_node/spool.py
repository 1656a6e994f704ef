"""The node's folder: the images of each series, and how far each has come. What it says holds after any kill.

::

    lock                            held while a node runs
    receiving/                      files that are still coming in
    series/<series UID>/images/     <SOP UID>.dcm, each whole
    series/<series UID>/state.json
    series/<series UID>/inference/  of the worker that runs
    series/<series UID>/results/    what was made of the images

A series' state belongs to the set of images that it was made of, by their digest. Images that come later make a new
set, and the series starts anew; images that come again change nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ckdmed.atomic_files import write_json
from ckdmed.json_files import read_json
from ckdmed.paths import checked_name, output_path

__all__ = ["FINAL", "SeriesState", "Spool", "SpoolBusyError", "digest_of"]

#: Stages in which nothing is left to do: sent; withheld, as the network was not made for such an input; refused, as the
#: images are no usable series; failed, as the inference ended several times.
FINAL = frozenset(("sent", "withheld", "refused", "failed"))
_SUFFIX = ".dcm"


class SpoolBusyError(RuntimeError):
    """Another node uses the folder."""


@dataclass(frozen=True)
class SeriesState:
    """How far a series has come.

    Args:
        digest: of the images that this is about.
        stage: "waiting" (for quiet, or for the worker), "to send", or one of `FINAL`.
        cause: why, in words.
        unintended: reasons why the network was not made for it.
        results: names of the files of its results.
        sent: those that the destination has confirmed.
        attempts: inferences that ended without a result.
    """

    digest: str = ""
    stage: str = "waiting"
    cause: str = ""
    unintended: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()
    attempts: int = 0


@dataclass
class _Series:
    """What is remembered of a series, so that no folder is listed again and again."""

    images: set[str] = field(default_factory=set)
    last: float = 0.0
    state: SeriesState = field(default_factory=SeriesState)
    # of the images; "" where it has to be made anew
    digest: str = ""


class Spool:
    """See the module. Safe for use by several threads; one process at a time.

    Args:
        folder: made if it does not exist.

    Raises:
        SpoolBusyError: another node uses it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.receiving = folder / "receiving"
        self._series_folder = folder / "series"
        for part in (folder, self.receiving, self._series_folder):
            part.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_file)
            raise SpoolBusyError(f"{folder}: another node uses this spool; stop it, or give another folder.") from error
        self._lock = threading.RLock()
        self._series: dict[str, _Series] = {}
        for entry in sorted(self._series_folder.iterdir()):
            if entry.is_dir():
                self._series[entry.name] = self._load(entry)
        self.remove_unfinished(older_than_s=0)

    def close(self) -> None:
        """Let another node use the folder."""
        os.close(self._lock_file)

    def __len__(self) -> int:
        return len(self._series)

    def names(self) -> list[str]:
        """UIDs of the series, those first that have been waiting longest."""
        with self._lock:
            return sorted(self._series, key=lambda name: self._series[name].last)

    def state(self, series: str) -> SeriesState:
        """How far the series has come, with the images that it has now."""
        with self._lock:
            known = self._series[series]
            known.digest = known.digest or digest_of(known.images)
            return known.state if known.state.digest == known.digest else SeriesState(known.digest)

    def images(self, series: str) -> list[str]:
        """SOP instance UIDs of the images."""
        with self._lock:
            return sorted(self._series[series].images)

    def count(self, series: str) -> int:
        """How many images it has, 0 for a series that is not there."""
        with self._lock:
            known = self._series.get(series)
            return 0 if known is None else len(known.images)

    def quiet_s(self, series: str) -> float:
        """Seconds since the last image came, or since the node began."""
        with self._lock:
            return time.monotonic() - self._series[series].last

    def waiting(self) -> int:
        """How many series have no result yet."""
        with self._lock:
            return sum(self.state(name).stage == "waiting" for name in self._series)

    def place(self, series: str, *parts: str) -> Path:
        """A path in the folder of a series."""
        return output_path(
            self._series_folder, Path(checked_name(series, "the series UID"), *parts), make_parents=False
        )

    def image(self, series: str, instance: str) -> Path:
        """Where an image lies, or is to lie."""
        return self.place(series, "images", f"{checked_name(instance, 'the SOP instance UID')}{_SUFFIX}")

    def add(self, series: str, instance: str, received: Path) -> bool:
        """Take a whole file into a series; when this returns it is safe on the disk.

        Args:
            series, instance: UIDs.
            received: the file, on the same disk; it is moved.

        Returns:
            False where the image was there already; the new file is left alone.
        """
        target = self.image(series, instance)
        with open(received, "rb") as stream:
            os.fsync(stream.fileno())
        with self._lock:
            known = self._series.get(series)
            if known is not None and instance in known.images:
                known.last = time.monotonic()
                return False
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.replace(received, target)
            _sync_folder(target.parent)
            if known is None:
                known = self._series[series] = _Series()
            known.images.add(instance)
            known.digest = ""
            known.last = time.monotonic()
            return True

    def note(self, series: str, state: SeriesState) -> None:
        """Keep how far a series has come."""
        with self._lock:
            write_json(self.place(series, "state.json"), asdict(state))
            self._series[series].state = state

    def note_sent(self, series: str, name: str, digest: str) -> SeriesState:
        """Keep that the destination has confirmed a result.

        Args:
            series: its UID.
            name: of the result's file.
            digest: of the images that the result was made of. Where late images led to new results meanwhile, whose
                files have the same names, these are still to be sent, and nothing is noted.
        """
        with self._lock:
            state = self._series[series].state
            if state.digest != digest:
                return state
            sent = tuple(dict.fromkeys((*state.sent, name)))
            state = replace(state, sent=sent, stage="sent" if set(sent) >= set(state.results) else state.stage)
            self.note(series, state)
            return state

    def remove_expired(self, keep_s: float) -> list[str]:
        """Remove finished series whose last image and last change are so old; returns their UIDs."""
        gone = []
        with self._lock:
            for name in self.names():
                state_file = self.place(name, "state.json")
                if self.state(name).stage not in FINAL or not state_file.is_file():
                    continue
                if self.quiet_s(name) >= keep_s and time.time() - state_file.stat().st_mtime >= keep_s:
                    shutil.rmtree(self.place(name))
                    del self._series[name]
                    gone.append(name)
        return gone

    def remove_unfinished(self, older_than_s: float) -> int:
        """Remove what broken connections left in ``receiving`` and nobody has written to for so long."""
        removed = 0
        for path in self.receiving.iterdir():
            try:
                if time.time() - path.stat().st_mtime >= older_than_s:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                # it was taken into its series meanwhile
                continue
        return removed

    def free_bytes(self) -> int:
        """Room on the disk."""
        return shutil.disk_usage(self.folder).free

    def _load(self, folder: Path) -> _Series:
        images = folder / "images"
        known = _Series(last=time.monotonic())
        if images.is_dir():
            known.images = {path.stem for path in images.iterdir() if path.suffix == _SUFFIX}
        state = folder / "state.json"
        if state.is_file():
            known.state = _state_from(read_json(state), state)
        return known


def digest_of(instances: Iterable[str]) -> str:
    """Of a set of images, by their SOP instance UIDs; 32 hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(instances)).encode()).hexdigest()[:32]


def _state_from(value: object, path: Path) -> SeriesState:
    try:
        fields = dict(value)  # type: ignore[call-overload]
        for name in ("unintended", "results", "sent"):
            fields[name] = tuple(fields[name])
        return SeriesState(**fields)
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: not the state of a series ({error}); remove the file, and the series is done again."
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
