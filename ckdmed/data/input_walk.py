"""Walking through a folder of inputs: links are followed, results of earlier runs are skipped, skips are counted."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckdmed.counted import counted
from ckdmed.folders import files_below
from ckdmed.json_files import read_json
from ckdmed.paths import PathLike

__all__ = [
    "OFFICIAL_FOLDS_NAME",
    "PREPARED_RECORD",
    "InputWalk",
    "SkippedFile",
    "UnusedFiles",
    "is_run_folder",
    "natural_order",
    "refuse_foreign_files",
]

#: In each folder that `ckdmed.preparation` wrote.
PREPARED_RECORD = "prepared.json"
# of the files that are passed over for one cause, how many are named
_EXAMPLES = 5
#: Of the Figshare set's folds, beside its slices.
OFFICIAL_FOLDS_NAME = "cvind.mat"


@dataclass(frozen=True)
class SkippedFile:
    """A file that is left out, and the cause."""

    path: Path
    reason: str


class UnusedFiles:
    """Files that are not used, counted by cause, the first few of each named.

    Attributes:
        counts: cause -> number of files.
        examples: cause -> the first five of them, or the folders that hold them.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[Path]] = {}

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    @property
    def some(self) -> list[Path]:
        """Five of them, of every cause if there are no more."""
        first = [
            path for rank in range(_EXAMPLES) for paths in self.examples.values() for path in paths[rank : rank + 1]
        ]
        return first[:_EXAMPLES]

    def add(self, cause: str, path: Path, count: int = 1) -> None:
        if count < 1:
            return
        self.counts[cause] = self.counts.get(cause, 0) + count
        examples = self.examples.setdefault(cause, [])
        if len(examples) < _EXAMPLES:
            examples.append(path)

    def update(self, others: UnusedFiles) -> None:
        """Count the files of others as well."""
        for cause, count in others.counts.items():
            first, *rest = others.examples[cause]
            self.add(cause, first, count - len(rest))
            for path in rest:
                self.add(cause, path)

    def lines(self) -> list[str]:
        """For each cause how many files, and which."""
        return [
            f"{counted(count, 'file')} not used, {cause}: "
            + ", ".join(map(_shown, self.examples[cause]))
            + (", ..." if count > len(self.examples[cause]) else "")
            for cause, count in self.counts.items()
        ]


class InputWalk:
    """The folders at and below a folder with their files, each once, whatever links lead there.

    Folders come before links to folders, so that files are met under their own names where they have some. Passed over
    are the folder for results, and counted too the folders of earlier runs wherever they lie, links to a folder above,
    and what is hidden.

    Args:
        root: is searched whatever it is: whoever names a folder of results means it.
        exclude: a folder that is passed over, such as the one for results, unless `root` lies in it.

    Attributes:
        unused: what was passed over.
        unlisted: (folder, cause) of folders that could not be opened.
    """

    def __init__(self, root: Path, exclude: PathLike | None = None) -> None:
        self.root = root
        self.unused = UnusedFiles()
        self.unlisted: list[tuple[Path, str]] = []
        self._real = root.resolve()
        out = None if exclude is None else Path(exclude).resolve()
        self._exclude = None if out is None or self._real.is_relative_to(out) else out
        self._seen: set[Path] = set()
        self._prepared: list[Path] = []

    def folders(self) -> Iterator[tuple[Path, list[Path]]]:
        """Each folder and its files in natural order; without what `prepare` wrote below `root`."""
        yield from self._from([self.root])

    def prepared(self) -> Iterator[tuple[Path, list[Path]]]:
        """After `folders`: those that `prepare` wrote, for where there are no inputs but these."""
        waiting, self._prepared = self._prepared, []
        yield from self._from(waiting)

    def pass_over_prepared(self) -> None:
        """After `folders`: where there are other inputs, skip what `prepare` wrote."""
        for folder in self._prepared:
            self.unused.add("written by an earlier prepare", folder, _count(folder))

    def _from(self, starts: list[Path]) -> Iterator[tuple[Path, list[Path]]]:
        waiting, links = list(reversed(starts)), list[Path]()
        while waiting or links:
            here = waiting.pop() if waiting else links.pop(0)
            real = here.resolve()
            if real in self._seen or not self._is_searched(here, real, here in starts):
                continue
            self._seen.add(real)
            try:
                entries = sorted(here.iterdir(), key=lambda path: natural_order(path.name))
            except OSError as error:
                self.unlisted.append((here, f"{here}: cannot be listed ({error.strerror})."))
                continue
            folders = [path for path in entries if path.is_dir()]
            files = [path for path in entries if not path.is_dir()]
            links += [path for path in folders if path.is_symlink()]
            waiting += [path for path in reversed(folders) if not path.is_symlink()]
            for path in files:
                if path.name.startswith("."):
                    self.unused.add("hidden", path)
            yield here, [path for path in files if not path.name.startswith(".")]

    def _is_searched(self, here: Path, real: Path, start: bool) -> bool:
        if self._exclude is not None and real.is_relative_to(self._exclude):
            return False
        if start:
            return True
        if here.name.startswith("."):
            self.unused.add("hidden", here, _count(here))
        elif self._real.is_relative_to(real):
            self.unused.add("behind a link to a parent folder", here)
        elif is_run_folder(real):
            self.unused.add("results of an earlier run", here, _count(real))
        elif _is_prepared(real):
            self._prepared.append(here)
        else:
            return True
        return False


def is_run_folder(folder: Path) -> bool:
    """Whether a training, an evaluation or an inference wrote its results here: such a folder holds no inputs.

    Args:
        folder: told by the ``settings.json`` that every run writes.
    """
    return {"command", "settings", "versions"} <= _keys(folder / "settings.json")


def refuse_foreign_files(out: Path, inputs: Path, records: Mapping[str, Collection[str]]) -> None:
    """Refuse an output folder below the inputs that holds files of no run: it is not searched, so no input may lie in
    it.

    Args:
        out: for results; hidden files in it do not count.
        inputs: folder that is searched.
        records: name of a file by which a folder is known as one of results -> keys that it has, none for a file that
            is no JSON object. One with the ``settings.json`` of a run is known anyway.

    Raises:
        ValueError: names one of the files.
    """
    real, searched = out.resolve(), inputs.resolve()
    if not out.is_dir() or real == searched or not real.is_relative_to(searched):
        return
    known = any((out / name).is_file() and set(keys) <= _keys(out / name) for name, keys in records.items())
    files = [] if known or is_run_folder(out) else [name for name in files_below(out) if not name.startswith(".")]
    if files:
        raise ValueError(
            f"output_dir {out} is inside the folder of the inputs and holds {counted(len(files), 'file')} that no run "
            f"wrote, such as {files[0]}; files in it would be taken for results and not be read. Give another one "
            "with --output_dir."
        )


def _is_prepared(folder: Path) -> bool:
    return {"case", "settings", "sources"} <= _keys(folder / PREPARED_RECORD)


def _keys(record: Path) -> set[str]:
    try:
        content = read_json(record)
    except (OSError, ValueError):
        return set()
    return set(content) if isinstance(content, dict) else set()


def _count(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def natural_order(name: str) -> list[tuple[int, int | str]]:
    """A key by which 2 comes before 10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


def _shown(path: Path) -> str:
    """On one line: a file's name may hold line breaks and terminal codes."""
    return text if (text := str(path)).isprintable() else ascii(text)[1:-1]
