"""What a node is told: where it listens, whom it trusts, where results go, and its limits."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Destination", "NodeSettings", "parse_destination"]

_DESTINATION = re.compile(r"(?P<title>[^@]+)@(?P<host>\[[^\]]+\]|[^:\[\]]+):(?P<port>\d+)")


@dataclass(frozen=True)
class Destination:
    """Another node.

    Args:
        title: its application entity (AE) title, 1 to 16 letters.
        host: its name or address.
        port: 1 to 65535.
    """

    title: str
    host: str
    port: int

    def __post_init__(self) -> None:
        _check_title(self.title)
        if not 1 <= self.port <= 65535:
            raise ValueError(f"the port of {self.title} must be 1 to 65535, got {self.port}.")


def parse_destination(text: str) -> Destination:
    """``TITLE@HOST:PORT``; an IPv6 address stands in brackets.

    Raises:
        ValueError: it is something else.
    """
    found = _DESTINATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not TITLE@HOST:PORT, such as ARCHIVE@127.0.0.1:4242.")
    return Destination(found["title"], found["host"].strip("[]"), int(found["port"]))


@dataclass(frozen=True)
class NodeSettings:
    """Of one node.

    Args:
        spool: its folder; all that it has received and not finished lies there.
        destination: where results are sent.
        bundle: folder of the bundle that segments.
        title: the node's own AE title.
        bind: the address that it listens on.
        port: likewise; 0 for any that is free.
        allowed: AE titles that may send; empty for the destination's alone.
        quiet_s: a series counts as complete when nothing of it came for so many seconds.
        send_unintended: whether to send results of inputs that the network was not made for.
        fractional, captures: whether to send the probabilities, and pictures, too.
        max_instance_bytes: of one file; a longer one ends its connection.
        max_instances: of one series.
        max_series: that wait for their result; another is refused until there is room.
        min_free_bytes: on the spool's disk; with less, nothing is taken.
        max_connections: at the same time.
        keep_hours: how long the images and results of a finished series stay in the spool.
        timeout_s: without a word from the other side, after which a connection ends.
        health_s: between two lines about the node's health.
        checkpoint: other weights than the bundle's own; of a training, or a deployed file.
        log_patients: whether patients' names and identifiers may stand in the log.
    """

    spool: Path
    destination: Destination
    bundle: Path
    title: str = "CKDMED"
    bind: str = "127.0.0.1"
    port: int = 11112
    allowed: Sequence[str] = field(default_factory=tuple)
    quiet_s: float = 30.0
    send_unintended: bool = False
    fractional: bool = False
    captures: bool = False
    max_instance_bytes: int = 128 << 20
    max_instances: int = 2000
    max_series: int = 200
    min_free_bytes: int = 1 << 30
    max_connections: int = 10
    keep_hours: float = 24.0
    timeout_s: float = 60.0
    health_s: float = 60.0
    log_patients: bool = False
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        for title in (self.title, *self.allowed):
            _check_title(title)
        try:
            ipaddress.ip_address(self.bind)
        except ValueError as error:
            raise ValueError(
                f"--bind needs an address of this machine, such as 127.0.0.1 or 0.0.0.0, got {self.bind!r}."
            ) from error
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port must be 0 to 65535, got {self.port}.")
        for name in ("quiet_s", "max_instance_bytes", "max_instances", "max_series", "max_connections", "timeout_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
        for name in ("min_free_bytes", "keep_hours", "health_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}.")

    @property
    def callers(self) -> list[str]:
        """AE titles that may send."""
        return list(self.allowed) or [self.destination.title]


def _check_title(title: str) -> None:
    """An AE title: of 16 letters, no backslash, not only blanks."""
    if not title.strip() or len(title) > 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise ValueError(f"an AE title must be 1 to 16 printable ASCII letters without a backslash, got {title!r}.")
