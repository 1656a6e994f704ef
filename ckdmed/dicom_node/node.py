"""The node: receives, lets a worker segment what is complete, sends the results, and says how it is."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckdmed.atomic_files import DISK_FULL, DiskFullError, write_json
from ckdmed.counted import counted
from ckdmed.dicom_node.no_names import keep_names_out
from ckdmed.dicom_node.receiver import Receiver
from ckdmed.dicom_node.sender import SendError, send_files
from ckdmed.dicom_node.settings import NodeSettings
from ckdmed.dicom_node.spool import FINAL, SeriesState, Spool
from ckdmed.dicom_node.worker import OUTCOME, Task, bundle_task, task_line

__all__ = ["Node", "serve"]

logger = logging.getLogger("ckdmed.dicom_node")

_TICK_S = 0.2
# an inference that ended without a word, such as by too little memory, is tried so often
_ATTEMPTS = 3
# pauses between tries to send: twice as long each time
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 300.0
_END_S = 10.0
# after the disk was found full
_DISK_PAUSE_S = 5.0
WORKER = (sys.executable, "-m", "ckdmed.dicom_node.worker")


class Node:
    """Runs from `start` to `stop`; `step` is called again and again in between.

    Args:
        settings: of the node.
        worker: the command that makes the results of a series, see `ckdmed.dicom_node.worker`.

    Raises:
        ValueError: the bundle does nothing with slices, or has no weights.
        SpoolBusyError: another node uses the spool.
    """

    def __init__(self, settings: NodeSettings, worker: Sequence[str] = WORKER) -> None:
        bundle_task(settings.bundle, settings.checkpoint)
        self.settings = settings
        self._worker_command = list(worker)
        self.spool = Spool(settings.spool)
        self.receiver = Receiver(settings, self.spool)
        self.made = 0
        self.sent = 0
        self._worker: subprocess.Popen[str] | None = None
        self._working: tuple[str, SeriesState] = ("", SeriesState())
        self._stopping = threading.Event()
        self._sender = threading.Thread(target=self._send_all, name="sender", daemon=True)
        # of each series that could not be sent: when to try again, and the pause after that
        self._pauses: dict[str, tuple[float, float]] = {}
        self._next_health = time.monotonic()
        self._wait_until = 0.0

    def start(self) -> int:
        """Listen and begin to work on what the spool holds; returns the port."""
        for name in self.spool.names():
            state = self.spool.state(name)
            if state.stage == "withheld" and self.settings.send_unintended:
                state = replace(state, stage="to send")
                self.spool.note(name, state)
            if state.stage not in FINAL:
                logger.info(
                    f"series {name}: {counted(len(self.spool.images(name)), 'image')} here from before, {state.stage}"
                )
        port = self.receiver.start()
        self._sender.start()
        return port

    def stop(self) -> None:
        """Finish what is being received and sent, and leave the rest in the spool."""
        self._stopping.set()
        self.receiver.stop()
        if self._worker is not None:
            _end(self._worker)
            self._worker = None
        if self._sender.is_alive():
            self._sender.join(self.settings.timeout_s)
        with suppress(DiskFullError):
            self._say_health()
        self.spool.close()

    def step(self) -> None:
        """Look after the worker, old files and the health line; where the disk is full, later."""
        if time.monotonic() < self._wait_until:
            return
        try:
            self._step()
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            logger.error(f"{error} Trying again in {_DISK_PAUSE_S:.0f} s")
            self._wait_until = time.monotonic() + _DISK_PAUSE_S

    def _step(self) -> None:
        self._look_after_worker()
        if self._worker is None and self._has_room():
            self._begin_next()
        if time.monotonic() >= self._next_health:
            self.spool.remove_unfinished(older_than_s=2 * self.settings.timeout_s)
            for name in self.spool.remove_expired(self.settings.keep_hours * 3600):
                logger.info(f"series {name}: removed from the spool, it was finished")
            self._say_health()
            self._next_health = time.monotonic() + (self.settings.health_s or float("inf"))

    def health(self) -> dict[str, Any]:
        """Counts since the start, and of the spool now."""
        stages = [self.spool.state(name).stage for name in self.spool.names()]
        counts = {stage.replace(" ", "_"): stages.count(stage) for stage in ("waiting", "to send", *sorted(FINAL))}
        return {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "connections": self.receiver.connections(),
            "working": self._worker is not None,
            "images_received": self.receiver.received,
            "images_refused": self.receiver.refused,
            "series_made": self.made,
            "objects_sent": self.sent,
            "series": counts,
            "free_mib": self.spool.free_bytes() >> 20,
        }

    def _say_health(self) -> None:
        health = self.health()
        write_json(self.settings.spool / "health.json", health)
        counts = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in health["series"].items())
        logger.info(
            f"health: {health['connections']} connections, {'working' if health['working'] else 'idle'}; images "
            f"received {health['images_received']}, refused {health['images_refused']}; series {counts}; objects sent "
            f"{health['objects_sent']}; {health['free_mib']} MiB free"
        )

    def _has_room(self) -> bool:
        return self.spool.free_bytes() >= self.settings.min_free_bytes

    def _begin_next(self) -> None:
        for name in self.spool.names():
            state = self.spool.state(name)
            if state.stage == "waiting" and self.spool.quiet_s(name) >= self.settings.quiet_s:
                self._begin(name, state)
                return

    def _begin(self, series: str, state: SeriesState) -> None:
        instances = self.spool.images(series)
        if len(instances) > self.settings.max_instances:
            cause = (
                f"it has more than {counted(self.settings.max_instances, 'image')}, the limit, and the others were "
                "refused; raise --max-instances, and send it again once it has left the spool"
            )
            logger.error(f"series {series}: no usable series: {cause}")
            self.spool.note(series, replace(state, stage="refused", cause=cause))
            return
        place = self.spool.place(series)
        for folder in (place / "inference", place / "results"):
            # of other sets of images: an earlier one of the same series
            for old in folder.iterdir() if folder.is_dir() else ():
                if old.name != state.digest and not old.name.startswith("."):
                    shutil.rmtree(old)
        task = Task(
            images=[str(self.spool.image(series, instance)) for instance in instances],
            bundle=str(self.settings.bundle),
            work=str(place / "inference" / state.digest),
            results=str(place / "results" / state.digest),
            fractional=self.settings.fractional,
            captures=self.settings.captures,
            checkpoint=str(self.settings.checkpoint or ""),
        )
        logger.info(f"series {series}: complete with {counted(len(instances), 'image')}, segmenting")
        with open(place / "worker.log", "wb") as log:
            self._worker = subprocess.Popen(
                self._worker_command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                # a Ctrl-C of the terminal is for the node, which ends the worker
                start_new_session=True,
            )
        self._working = (series, state)
        if self._worker.stdin is not None:
            # where it ended at once, that is found out at the next step
            with suppress(BrokenPipeError):
                self._worker.stdin.write(task_line(task))
                self._worker.stdin.flush()

    def _look_after_worker(self) -> None:
        if self._worker is None or self._worker.poll() is None:
            return
        status, self._worker = self._worker.returncode, None
        series, state = self._working
        outcome = self.spool.place(series, "results", state.digest, OUTCOME)
        # put in place as a whole: however the worker ended after it
        if outcome.is_file():
            self._take(series, state, json.loads(outcome.read_text(encoding="utf-8")))
            return
        # a full disk is not the series' fault
        attempts = state.attempts + self._has_room()
        cause = f"the worker ended with status {status}: {_last_line(self.spool.place(series, 'worker.log'))}"
        stage = "failed" if attempts >= _ATTEMPTS else "waiting"
        logger.error(f"series {series}: {cause} (failure {attempts} of {_ATTEMPTS})")
        self.spool.note(series, replace(state, stage=stage, cause=cause, attempts=attempts))

    def _take(self, series: str, state: SeriesState, outcome: dict[str, Any]) -> None:
        self.made += 1
        reasons = tuple(str(reason) for reason in outcome["reasons"])
        state = replace(state, unintended=reasons, results=tuple(str(name) for name in outcome["results"]))
        if outcome["refused"]:
            state = replace(state, stage="refused", cause=str(outcome["refused"]))
            logger.error(f"series {series}: no usable series: {state.cause}")
        elif outcome["status"] != "intended" and not self.settings.send_unintended:
            state = replace(state, stage="withheld", cause="; ".join(reasons))
            # a reason may quote the series' description, and people put names into those
            why = f": {state.cause}" if self.settings.log_patients else f" (state.json of {series} says why)"
            logger.warning(
                f"series {series}: the results stay here, because the network was not made for such an input, or that "
                f"is unknown{why}; --send-unintended sends such results"
            )
        else:
            state = replace(state, stage="to send")
            logger.info(f"series {series}: {len(state.results)} results to send")
        self.spool.note(series, state)

    def _send_all(self) -> None:
        while not self._stopping.wait(_TICK_S):
            for name in self.spool.names():
                if self._stopping.is_set():
                    return
                try:
                    state = self.spool.state(name)
                except KeyError:
                    # removed meanwhile
                    continue
                when, pause = self._pauses.get(name, (0.0, _FIRST_PAUSE_S))
                if state.stage == "to send" and time.monotonic() >= when:
                    self._send(name, state, pause)

    def _send(self, series: str, state: SeriesState, pause: float) -> None:
        folder = self.spool.place(series, "results", state.digest)

        def confirmed(file: Path) -> None:
            self.sent += 1
            self.spool.note_sent(series, file.name, state.digest)

        try:
            files = [folder / name for name in state.results if name not in state.sent]
            send_files(self.settings, files, confirmed)
        # one result that cannot be read must not end the thread that sends all others
        except Exception as error:
            self._pauses[series] = (time.monotonic() + pause, min(2 * pause, _LONGEST_PAUSE_S))
            known = isinstance(error, (SendError, OSError))
            # what another error says may hold a patient's name
            what = str(error) if known else f"{type(error).__name__}: results in {folder} cannot be sent."
            logger.error(f"series {series}: {what} Trying again in {pause:.0f} s")
            return
        self._pauses.pop(series, None)
        logger.info(f"series {series}: sent to {self.settings.destination.title}")


def serve(settings: NodeSettings, worker: Sequence[str] = WORKER) -> int:
    """Run a node until it is told to end by SIGTERM or Ctrl-C.

    Args:
        settings, worker: see `Node`.

    Returns:
        0.

    Raises:
        ValueError, SpoolBusyError, OSError: it cannot start.
    """
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    if not settings.log_patients:
        keep_names_out()
    node = Node(settings, worker)
    port = node.start()
    logger.info(
        f"{settings.title} listens on {settings.bind}:{port} for {', '.join(settings.callers)}; results go to "
        f"{settings.destination.title}@{settings.destination.host}:{settings.destination.port}; spool {settings.spool}"
    )
    try:
        while not told.wait(_TICK_S):
            node.step()
    finally:
        logger.info("ending")
        node.stop()
    return 0


def _end(worker: subprocess.Popen[str]) -> None:
    """Its work so far stays, and is taken up by the next."""
    if worker.stdin is not None:
        # by which it ends, at any moment
        worker.stdin.close()
    try:
        worker.wait(_END_S)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def _last_line(log: Path) -> str:
    try:
        with open(log, "rb") as stream:
            stream.seek(max(0, os.path.getsize(log) - 4096))
            lines = stream.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return "no log"
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "no word")
