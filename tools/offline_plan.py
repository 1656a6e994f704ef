#!/usr/bin/env python3
"""Carry a plan of trainings to a machine without internet, run it there in parts, and bring the results back.

    python tools/offline_plan.py pack tools/evidence_plan.json --dataset_dir figshare --file lite0.pth \
        --output_dir pieces
    python3 offline_plan.py run pieces --work_dir work --minutes 9      # there, again until it exits with 0
    python3 offline_plan.py results work --output_dir results

``pack`` puts the package's wheel, wheels that the other machine lacks, the slices at the size that the networks see,
and files such as pretrained weights into pieces of at most 40 MB, with this file beside them. ``run`` needs the
standard library alone: it checks and unpacks the pieces, makes an environment over the machine's own (which has
PyTorch), and takes up the plan where the last part left it. A step is a command that can be interrupted and repeated,
as all commands of ckdmed can; when the time is over it is asked to stop, and the exit status is 75. ``results``
writes what a reader needs (records, histories, settings, best weights) into at most eight files of 16 MiB, records
first, and names what found no room.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

UNFINISHED = 75
_PIECE, _RESULT, _RESULTS = 40_000_000, 16 * 2**20, 8
_GRACE = 40.0  # seconds from the request to stop until a step is killed
_MANIFEST, _STATE = "pieces.json", "state.json"
# what of a run is worth its bytes, in this order
_KEPT = ("records/*/*.json", "**/metrics.jsonl", "**/settings.json", "**/*.md", "**/models/model.pt")


def read_plan(path: Path) -> list[dict]:
    """The steps of a plan: objects with ``name`` and ``command``, a list of words after ``ckdmed``.

    Raises:
        ValueError: another form, or two steps of one name.
    """
    try:
        steps = json.loads(path.read_text(encoding="utf-8"))["steps"]
        names = [step["name"] for step in steps]
        whole = all(isinstance(step["command"], list) for step in steps)
        whole = whole and all(isinstance(word, str) for step in steps for word in step["command"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no plan: {error!r}. A step has a name and a command, a list of words.") from error
    if not whole or len(set(names)) != len(names) or not names:
        raise ValueError(f"{path}: steps need different names, and commands that are lists of words.")
    return list(steps)


def shrink(source: Path, target: Path, image_size: int) -> int:
    """Write the slices of a Figshare tree at another size, with its folds; returns how many.

    Images are averaged, masks take the nearest pixel, borders are scaled; a smaller slice stays as it is. Of a slice
    that is no square the shorter edge gets the size, and the longer one as many pixels as keep its proportions.
    """
    import numpy as np
    from skimage.transform import resize

    from ckdmed.data.figshare import read_figshare_slice
    from ckdmed.data.input_walk import OFFICIAL_FOLDS_NAME, InputWalk
    from ckdmed.data.phantoms.files import write_slice_mat

    target.mkdir(parents=True, exist_ok=True)
    written = 0
    walk = InputWalk(source)
    found = sorted(path for _, files in walk.folders() for path in files if path.suffix.lower() == ".mat")
    if walk.unlisted:
        raise ValueError(walk.unlisted[0][1])
    for path in found:
        if path.name.lower() == OFFICIAL_FOLDS_NAME:
            shutil.copyfile(path, target / path.name)
            continue
        one = read_figshare_slice(path)
        shape = np.array(one.image.shape)
        # one factor for both edges; the shorter one gets the size, so that no edge has fewer pixels than networks see
        size = np.rint(shape * min(1.0, image_size / shape.min())).astype(int)
        factor = size / shape
        smooth = bool((factor < 1).any())
        image = resize(one.image.astype(np.float64), size, order=1, anti_aliasing=smooth, preserve_range=True)
        mask = resize(one.mask > 0, size, order=0, anti_aliasing=False)
        # from (row, column), 0-based, to (x, y), 1-based
        border = ((one.border + 0.5) * factor + 0.5)[:, ::-1]
        name = target / path.relative_to(source)
        name.parent.mkdir(parents=True, exist_ok=True)
        write_slice_mat(
            name, image.round().astype(np.int16), mask.astype(np.uint8), border, one.tumor_label, one.patient
        )
        written += 1
    return written


def split(stream: Path, output_dir: Path, size: int = _PIECE) -> list[Path]:
    """Cut a file into pieces with a manifest of their hashes."""
    output_dir.mkdir(parents=True, exist_ok=True)
    pieces: list[Path] = []
    entries = {}
    with stream.open("rb") as file:
        while block := file.read(size):
            pieces.append(output_dir / f"piece-{len(pieces):03d}")
            pieces[-1].write_bytes(block)
            entries[pieces[-1].name] = hashlib.sha256(block).hexdigest()
    (output_dir / _MANIFEST).write_text(json.dumps({"pieces": entries}, indent=1), encoding="utf-8")
    return pieces


class _Joined(io.RawIOBase):
    """The pieces one after the other, as one stream; each is compared with its hash when it is opened."""

    def __init__(self, folder: Path) -> None:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["pieces"]
        self.blocks = self._read(folder, manifest)
        self.rest = b""

    @staticmethod
    def _read(folder: Path, manifest: dict[str, str]) -> Iterator[bytes]:
        for name, digest in manifest.items():
            block = (folder / Path(name).name).read_bytes()
            if hashlib.sha256(block).hexdigest() != digest:
                raise ValueError(f"{folder / name} is damaged: its hash is not that of {_MANIFEST}; copy it again.")
            yield block

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self.rest:
            self.rest = next(self.blocks, b"")
        given, self.rest = self.rest[: len(buffer)], self.rest[len(buffer) :]
        buffer[: len(given)] = given
        return len(given)


def pack(args: argparse.Namespace) -> int:
    """Make the pieces; 1 where the folder is not empty."""
    if args.output_dir.exists() and any(args.output_dir.iterdir()):
        print(f"{args.output_dir} is not empty; name another folder.", file=sys.stderr)
        return 1
    read_plan(args.plan)
    # all of them come to lie in one folder
    names = ["wheels", "plan.json", *(path.absolute().name for path in (*args.file, *args.dataset_dir))]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(double)}: two of one name would become one there; rename a file or a folder.")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        wheels = root / "wheels"
        wheels.mkdir(parents=True)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        checkout = Path(__file__).resolve().parent.parent
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(checkout)], check=True)
        for name in args.wheel:
            target = ["--only-binary=:all:", "--no-deps", "--python-version", args.python]
            platforms = [word for n in (28, 27, 17) for word in ("--platform", f"manylinux_2_{n}_x86_64")]
            platforms += ["--platform", "manylinux2014_x86_64", "--platform", "any"]
            subprocess.run([*pip, "download", *target, *platforms, "-d", str(wheels), name], check=True)
        for file in args.file:
            shutil.copyfile(file, root / file.name)
        shutil.copyfile(args.plan, root / "plan.json")
        for folder in args.dataset_dir:
            print(f"{folder}: {shrink(folder, root / folder.absolute().name, args.image_size)} slices")
        whole = Path(scratch) / "whole.tar.xz"
        with tarfile.open(whole, "w:xz") as archive:
            for path in sorted(root.iterdir()):
                archive.add(path, arcname=path.name)
        pieces = split(whole, args.output_dir, args.piece_bytes)
    shutil.copyfile(__file__, args.output_dir / Path(__file__).name)
    total = sum(piece.stat().st_size for piece in pieces)
    print(f"{args.output_dir}: {len(pieces)} pieces, {total / 1e6:.1f} MB")
    return 0


def unpack(pieces: Path, work_dir: Path) -> None:
    """Unpack the pieces into the folder of the work and make its environment, unless both are there.

    Raises:
        ValueError: a damaged piece.
    """
    marker = work_dir / "unpacked"
    if marker.is_file():
        return
    work_dir.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BufferedReader(_Joined(pieces)), mode="r|xz") as archive:  # type: ignore[arg-type]
        archive.extractall(work_dir, filter="data")
    if any((work_dir / "wheels").glob("*.whl")):
        environment = work_dir / ".venv"
        subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(environment)], check=True)
        pip = [str(environment / "bin/python"), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        subprocess.run([*pip, *map(str, sorted((work_dir / "wheels").glob("*.whl")))], check=True)
    marker.write_text("", encoding="utf-8")


def run(args: argparse.Namespace) -> int:
    """Take up the plan; 0 when it is done, 75 when there is more, else the status of the step that failed."""
    deadline = time.monotonic() + 60 * args.minutes
    unpack(args.pieces, args.work_dir)
    steps = read_plan(args.work_dir / "plan.json")
    state_file = args.work_dir / _STATE
    state = json.loads(state_file.read_text(encoding="utf-8")) if state_file.is_file() else {"done": {}}
    python = args.work_dir / ".venv/bin/python"
    own = [str(python.absolute()) if python.is_file() else sys.executable, "-m", "ckdmed"]
    for number, step in enumerate(steps, 1):
        if step["name"] in state["done"]:
            continue
        left = deadline - time.monotonic() - _GRACE
        if left <= 0:
            break
        print(f"[{number}/{len(steps)}] {step['name']}, {left / 60:.1f} minutes left", flush=True)
        began = time.monotonic()
        status = _run_step([*own, *step["command"]], args.work_dir, left)
        if status is None:
            print(f"{step['name']} was asked to stop; repeat the command to go on.", flush=True)
            return UNFINISHED
        if status:
            print(f"{step['name']} failed with status {status}.", file=sys.stderr)
            return status
        state["done"][step["name"]] = round(time.monotonic() - began, 1)
        _write(state_file, json.dumps(state, indent=1))
    return 0 if len(state["done"]) == len(steps) else UNFINISHED


def _run_step(command: Sequence[str], folder: Path, seconds: float) -> int | None:
    """The status of a command, or None where its time was over: SIGTERM keeps its last checkpoint."""
    with subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONUTF8": "1"}) as process:
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=_GRACE / 2)
        except subprocess.TimeoutExpired:
            process.kill()
    return None


def _write(path: Path, text: str) -> None:
    """Atomically; the machine over there may not have ckdmed yet."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def results(args: argparse.Namespace) -> int:
    """Write the archives; 1 where something found no room, or the folder is not empty."""
    if args.output_dir.exists() and any(args.output_dir.iterdir()):
        print(f"{args.output_dir} is not empty; name another folder.", file=sys.stderr)
        return 1
    args.output_dir.mkdir(parents=True, exist_ok=True)
    found = dict.fromkeys(path for kind in _KEPT for path in sorted(args.work_dir.glob(f"*/{kind}")) if path.is_file())
    files = [path for path in (args.work_dir / _STATE, *found) if path.is_file()]
    left_out: list[Path] = []
    number, room, archive = 0, 0, None
    for path in files:
        # a header, and up to a block of padding; compression only makes it smaller
        needed = path.stat().st_size + 2048
        if needed > room:
            if number == args.files or needed > args.file_bytes - 20480:
                left_out.append(path)
                continue
            if archive is not None:
                archive.close()
            archive = tarfile.open(args.output_dir / f"results-{number}.tar.gz", "w:gz")
            number, room = number + 1, args.file_bytes - 20480
        if archive is not None:
            archive.add(path, arcname=str(path.relative_to(args.work_dir)))
            room -= needed
    if archive is not None:
        archive.close()
    print(f"{len(files) - len(left_out)} files in {number} archives")
    for path in left_out:
        print(f"no room for {path.relative_to(args.work_dir)}", file=sys.stderr)
    return 1 if left_out else 0


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("pack", help="make the pieces")
    one.set_defaults(act=pack)
    one.add_argument("plan", type=Path)
    one.add_argument("--dataset_dir", type=Path, nargs="*", default=[], help="trees of Figshare slices")
    one.add_argument("--image_size", type=int, default=256, help="edge of their slices in pixels (default: 256)")
    one.add_argument("--file", type=Path, nargs="*", default=[], help="more files, such as pretrained weights")
    one.add_argument(
        "--wheel", nargs="*", default=[], help="packages that the other machine lacks, such as monai==1.6.1"
    )
    one.add_argument("--python", default="3.12", help="Python of the other machine (default: 3.12)")
    one.add_argument("--piece_bytes", type=int, default=_PIECE, help="of a piece at most (default: 40000000)")
    one.add_argument("--output_dir", type=Path, required=True)
    two = commands.add_parser("run", help="take up the plan")
    two.set_defaults(act=run)
    two.add_argument("pieces", type=Path)
    two.add_argument("--work_dir", type=Path, required=True)
    two.add_argument("--minutes", type=float, default=9.0, help="of this part (default: 9)")
    three = commands.add_parser("results", help="collect what a reader needs")
    three.set_defaults(act=results)
    three.add_argument("work_dir", type=Path)
    three.add_argument("--output_dir", type=Path, required=True)
    three.add_argument("--files", type=int, default=_RESULTS, help="at most (default: 8)")
    three.add_argument("--file_bytes", type=int, default=_RESULT, help="of each at most (default: 16 MiB)")
    args = parser.parse_args(words)
    try:
        return int(args.act(args))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
