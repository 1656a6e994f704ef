"""A node as a process of its own, archives to send to, and senders."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import MRImageStorage

ROOT = Path(__file__).resolve().parents[2]
#: makes a result of a series without a network, and counts how often it did so
QUICK_WORKER = (sys.executable, str(Path(__file__).with_name("quick_worker.py")))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], seconds: float = 60.0, what: str = "") -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what or condition}"
        time.sleep(0.05)


class Archive:
    """Takes everything and keeps it in memory; in `times` how often each object came."""

    def __init__(self, title: str = "ARCHIVE", port: int = 0) -> None:
        self.title, self.port = title, port
        self.objects: dict[str, Dataset] = {}
        self.times: Counter[str] = Counter()
        self.status = 0x0000
        self.delay_s = 0.0
        self._lock = threading.Lock()
        self._server: Any = None

    def __enter__(self) -> Archive:
        entity = AE(self.title)
        entity.supported_contexts = StoragePresentationContexts
        self._server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.port = self._server.socket.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _store(self, event: evt.Event) -> int:
        time.sleep(self.delay_s)
        if self.status == 0x0000:
            dataset = event.dataset
            with self._lock:
                self.objects[str(dataset.SOPInstanceUID)] = dataset
                self.times[str(dataset.SOPInstanceUID)] += 1
        return self.status

    def of(self, modality: str) -> list[Dataset]:
        with self._lock:
            return [item for item in self.objects.values() if item.Modality == modality]


def send(
    port: int,
    files: Sequence[Path | Dataset],
    title: str = "ARCHIVE",
    called: str = "CKDMED",
    contexts: Sequence[str] = (MRImageStorage,),
    timeout: float = 20,
) -> list[int | None]:
    """The status of each file; None where it could not be sent or the connection broke."""
    entity = AE(title)
    entity.dimse_timeout = entity.network_timeout = entity.acse_timeout = timeout
    for sop_class in contexts:
        entity.add_requested_context(sop_class)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return [None] * len(files)
    statuses: list[int | None] = []
    try:
        for file in files:
            dataset = file if isinstance(file, Dataset) else dcmread(file)
            try:
                statuses.append(association.send_c_store(dataset).get("Status"))
            except (RuntimeError, ValueError):
                statuses.append(None)
    finally:
        if association.is_established:
            association.release()
    return statuses


class Node:
    """The command `ckdmed serve-dicom`, or the same with another worker."""

    def __init__(
        self, folder: Path, archive_port: int, *options: str, worker: Sequence[str] = (), quiet: float = 0.5
    ) -> None:
        self.spool = folder / "spool"
        self.log = folder / "node.log"
        self.port = free_port()
        destination = f"ARCHIVE@127.0.0.1:{archive_port}"
        arguments = ["--spool", str(self.spool), "--send-to", destination, "--port", str(self.port)]
        arguments += ["--quiet-time", str(quiet), "--min-free-mib", "1", "--timeout", "10", *options]
        if worker:
            program = [sys.executable, str(Path(__file__).with_name("launch.py")), json.dumps(list(worker)), *arguments]
        else:
            program = [sys.executable, "-m", "ckdmed", "serve-dicom", *arguments]
        self.program = program
        self.process: Any = None

    def start(self, environment: dict[str, str] | None = None) -> Node:
        before = self.text().count("listens on")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.program, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **(environment or {})}
            )
        wait_for(
            lambda: self.text().count("listens on") > before or self.process.poll() is not None, 90, "the node to start"
        )
        assert self.process.poll() is None, self.text()
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return int(self.process.wait(60))

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""

    def states(self) -> dict[str, dict[str, Any]]:
        return {path.parent.name: json.loads(path.read_text()) for path in self.spool.glob("series/*/state.json")}

    def made(self) -> int:
        """How often the quick worker made results."""
        return sum(len(path.read_text().splitlines()) for path in self.spool.glob("series/*/made.txt"))


@contextmanager
def running(node: Node) -> Iterator[Node]:
    node.start()
    try:
        yield node
    finally:
        if node.process.poll() is None:
            node.kill()
