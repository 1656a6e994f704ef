"""Folders of results: where they may lie, and how one is written whole and takes the place of an earlier one."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ckdmed.atomic_files import naming_full_disk
from ckdmed.paths import checked_name, output_path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "files_below",
    "put_in_place",
    "refuse_folder_of_inputs",
    "refuse_place_among",
    "refuse_source_folder",
    "refuse_unwritable",
    "remove_leftover_folders",
    "replaced_folder",
    "work_folder",
]

# in the names of hidden folders, after that of the folder beside which they lie: one that is being filled, and one that
# holds what had this name before
_FILLING, _REPLACED = "part", "old"
_HIDDEN = re.compile(rf"\.(.+)\.({_FILLING}|{_REPLACED})-[a-z0-9_]+")
# What file managers leave behind.
_DEBRIS = (".DS_Store", "Thumbs.db", "desktop.ini")


def files_below(folder: Path) -> list[str]:
    """All that is below a folder and is no folder, as sorted relative paths with `/`; links are not followed."""
    found = [
        (Path(here) / name).relative_to(folder).as_posix()
        for here, folders, files in os.walk(folder)
        for name in [*files, *(entry for entry in folders if (Path(here) / entry).is_symlink())]
        if name not in _DEBRIS
    ]
    return sorted(found)


def refuse_source_folder(
    out: Path,
    sources: Mapping[str, Sequence[Path]],
    given: Sequence[Path] = (),
    masks: Mapping[str, Path] | None = None,
) -> None:
    """Refuse an output folder in which results would come among the inputs, or in their place.

    Allowed is any other folder, one inside a given folder but outside every case among them.

    Args:
        out: where `<out>/<case>/` will be written.
        sources: the images of each case: files, or folders of DICOM series.
        given: folders that were searched; they are no case's folder unless they bear its name. Without any only a name
            tells which folder is a case's.
        masks: other files of the cases, which may lie anywhere but where a case is written.

    Raises:
        ValueError: `out` is a given folder or holds an image itself, lies in a case's folder (which bears its name,
            or holds images of this case alone) or in that of a series; or a case would be written where files lie that
            it, or another case, is made of. Links are followed.
    """
    remedy = _remedy("--output_dir")
    refuse_place_among(out, sources, given)
    targets = {out.resolve() / case: case for case in sources}
    everything = [path for paths in sources.values() for path in paths] + list((masks or {}).values())
    for path in everything:
        for real in _places(path):
            for folder in (real, *real.parents):
                if folder in targets:
                    raise ValueError(f"{path} lies where {targets[folder]} would be written ({folder}); {remedy}.")


def refuse_unwritable(folder: Path, remedy: str = "give another --output_dir") -> None:
    """Refuse a folder that cannot be made, or written into, before anything is computed for it.

    Args:
        folder: which may not be there yet.
        remedy: what the user can do, for the message.

    Raises:
        ValueError: names the place that is in the way and says what to do.
    """
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        what = f"'{there}' is not a folder"
        raise ValueError(f"{what}{'' if there == folder.absolute() else f', so {folder} cannot be created'}; {remedy}.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"'{there}' cannot be written to; change its permissions, or {remedy}.")


def refuse_folder_of_inputs(output_dir: Path, folder: Path) -> None:
    """Raise ValueError where results would go into the very folder of the inputs."""
    if folder.resolve() == output_dir.resolve():
        raise ValueError(
            f"output_dir is the folder of the inputs ({folder.resolve()}); results could replace them there. "
            "Give another one with --output_dir."
        )


def refuse_place_among(
    out: Path, sources: Mapping[str, Sequence[Path]], given: Sequence[Path] = (), option: str = "--output_dir"
) -> None:
    """Refuse an output folder that is a folder of the inputs, or lies in that of a case or of a series.

    Args:
        out, sources, given: see `refuse_source_folder`.
        option: by which another folder can be given.

    Raises:
        ValueError: as `refuse_source_folder` for the place of `out`, whatever would be written in it.
    """
    place = out.resolve()
    roots = {path.resolve() for path in given}
    remedy = _remedy(option)
    if place in roots:
        raise ValueError(f"{out} is a folder of the inputs; {remedy}.")
    holders: dict[Path, set[str]] = defaultdict(set)
    for case, paths in sources.items():
        for path in paths:
            for real in _places(path):
                holders[real.parent].add(case)
                if real.is_dir() and place.is_relative_to(real):
                    raise ValueError(f"{out} lies in {path}, a series of {case}; {remedy}.")
                for folder in real.parents:
                    near = folder == real.parent or any(folder.is_relative_to(root) for root in roots)
                    if near and folder.name == case and place.is_relative_to(folder):
                        raise ValueError(f"{out} lies in {folder}, the folder of {case}; {remedy}.")
    for folder, cases in holders.items():
        if place == folder:
            raise ValueError(f"{out} is a folder of the inputs ({sorted(cases)[0]}); {remedy}.")
        if roots and len(cases) == 1 and folder not in roots and place.is_relative_to(folder):
            raise ValueError(f"{out} lies in {folder}, the folder of {sorted(cases)[0]}; {remedy}.")


def _places(path: Path) -> set[Path]:
    """Where a file lies: the link to it, and what that leads to. A link that leads to itself is read, and refused, by
    whoever wants its image; the others have nothing to do with it."""
    return {Path(os.path.realpath(path)), path.parent.resolve() / path.name}


def _remedy(option: str) -> str:
    return f"the originals could be replaced; give another {option}"


@contextmanager
def replaced_folder(root: Path, name: str, foreign: Callable[[Path], str | None]) -> Iterator[Path]:
    """A new folder to fill, which becomes `<root>/<name>` when the block ends without an error.

    It is hidden beside its place until then, so a reader never sees half of it. An earlier folder is put away only
    after the new one is complete, and only if `foreign` finds nothing foreign in it; an empty one always. What killed
    processes left of this name is removed, what a running one is filling is not; see `remove_leftover_folders`.

    Args:
        root: the output folder; made if absent.
        name: of the folder; see `checked_name`.
        foreign: what in an earlier folder was not written by this package, in words, or None.

    Raises:
        ValueError: the name leaves the folder; its place is taken by a file, a link, or a folder with foreign content.
        DiskFullError: there is no room for what the block writes.
    """
    root.mkdir(parents=True, exist_ok=True)
    target = output_path(root, checked_name(name))
    _refuse_foreign(target, foreign)
    with work_folder(target) as temporary:
        with naming_full_disk(target):
            yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        _refuse_foreign(target, foreign)
        put_in_place(temporary, target)


@contextmanager
def work_folder(target: Path) -> Iterator[Path]:
    """A new folder, hidden beside `target` and private, which is gone when the block ends.

    Where the process is killed, it is removed by the next call for the same target.
    """
    remove_leftover_folders(target.parent, [target.name])
    with _hidden_folder(target, _FILLING) as temporary:
        yield temporary


def put_in_place(folder: Path, target: Path) -> None:
    """Move a folder to its place, where an earlier one may stand, which is gone then.

    Where the process is killed between its two steps, the earlier one is put back by the next `work_folder`.
    """
    if not target.exists():
        os.replace(folder, target)
        return
    with _hidden_folder(target, _REPLACED) as aside:
        old = aside / target.name
        os.replace(target, old)
        try:
            os.replace(folder, target)
        except OSError:
            os.replace(old, target)
            raise


def _refuse_foreign(target: Path, foreign: Callable[[Path], str | None]) -> None:
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        problem: str | None = "it is a link" if target.is_symlink() else "it is a file"
    else:
        problem = foreign(target) if files_below(target) else None
    if problem:
        raise ValueError(
            f"{target} is not replaced: {problem}. Move it elsewhere, or give another folder for the results."
        )


@contextmanager
def _hidden_folder(target: Path, kind: str) -> Iterator[Path]:
    """A folder beside `target` that is locked until it is removed at the end."""
    temporary, lock = _locked_folder(target, kind)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _locked_folder(target: Path, kind: str) -> tuple[Path, int | None]:
    """A temporary folder, and what keeps other processes from removing it while this one lives."""
    while True:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.{kind}-", dir=target.parent))
        if fcntl is None:
            return temporary, None
        lock = os.open(temporary, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            # a file system without such locks; no process can lock the folder there, so none removes it either
            os.close(lock)
            return temporary, None
        # between its making and the lock another process may have taken it for a leftover
        if temporary.is_dir():
            return temporary, lock
        os.close(lock)


def remove_leftover_folders(root: Path, names: Iterable[str]) -> None:
    """Remove the hidden folders that killed processes left in `root` beside results of these names.

    One that holds an earlier result whose place is empty now is put back there first. What a running process uses is
    locked and stays; so does everything on a file system without locks.
    """
    if fcntl is None or not root.is_dir():
        return
    wanted = set(names)
    for entry in list(os.scandir(root)):
        match = _HIDDEN.fullmatch(entry.name)
        if match is None or match[1] not in wanted or not entry.is_dir(follow_symlinks=False):
            continue
        try:
            lock = os.open(entry.path, os.O_RDONLY)
        except OSError:
            # another process was faster
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            target, old = root / match[1], Path(entry.path, match[1])
            if match[2] == _REPLACED and old.is_dir() and not old.is_symlink() and not os.path.lexists(target):
                os.replace(old, target)
            shutil.rmtree(entry.path, ignore_errors=True)
        except OSError:
            # it is being filled, or the file system has no locks
            continue
        finally:
            os.close(lock)
