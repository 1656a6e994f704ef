"""Damage as disks, networks and killed writers do it, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Mutation = Callable[[bytearray, np.random.Generator], bytearray]


def flip(data: bytearray, rng: np.random.Generator) -> bytearray:
    """One to four bits the other way round."""
    for _ in range(int(rng.integers(1, 5))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return data


def cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    """The end missing, as after a kill or on a full disk."""
    return data[: int(rng.integers(len(data)))]


def blank(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A block of zeros, as of a sparse file that was never filled."""
    start, length = _block(data, rng)
    data[start : start + length] = bytes(length)
    return data


def swap(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Two blocks in each other's place."""
    first, length = _block(data, rng)
    second = int(rng.integers(len(data) - length + 1))
    one, other = data[first : first + length], data[second : second + length]
    data[first : first + length] = other
    data[second : second + length] = one
    return data


def insert(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Foreign bytes between."""
    at = int(rng.integers(len(data)))
    data[at:at] = rng.bytes(int(rng.integers(1, 64)))
    return data


def exaggerate(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A huge or negative number in the first kilobyte, where most formats keep sizes."""
    value = [b"\xff\xff\xff\x7f", b"\xff\xff", b"\x00\x00\x00\x80", b"\x00\x7f", b"\xff\xff\xff\xff"][
        int(rng.integers(5))
    ]
    at = int(rng.integers(min(len(data), 1024)))
    data[at : at + len(value)] = value
    return data


MUTATIONS: dict[str, Mutation] = {f.__name__: f for f in (flip, cut, blank, swap, insert, exaggerate)}


def mutated(original: bytes, seed: int) -> tuple[str, bytes]:
    """The name of a mutation, and the file after it; another file than the original.

    Args:
        original: whole file, not empty.
        seed: one seed gives one file.
    """
    rng = np.random.default_rng(seed)
    names = list(MUTATIONS)
    name = names[seed % len(names)]
    for _ in range(100):
        damaged = bytes(MUTATIONS[name](bytearray(original), rng))
        if damaged != original:
            return name, damaged
    return "cut", original[:-1]


def _block(data: bytearray, rng: np.random.Generator) -> tuple[int, int]:
    length = int(rng.integers(1, max(2, min(len(data) // 2, 512))))
    return int(rng.integers(len(data) - length + 1)), length
