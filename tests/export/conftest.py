"""Exports of every bundle, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ckdmed.export import Export, export_bundle
from tests.export.tiny import ROOT, sizes_of, write_checkpoint


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Export]:
    """Gives the export of a bundle at small sizes, with random weights."""
    made: dict[str, Export] = {}

    def get(bundle: str) -> Export:
        if bundle not in made:
            folder = tmp_path_factory.mktemp(bundle)
            checkpoint = write_checkpoint(folder / "checkpoint.pt", bundle)
            output = folder / f"brain_tumour_{bundle}"
            made[bundle] = export_bundle(ROOT / "bundles" / bundle, checkpoint, output, overrides=sizes_of(bundle))
        return made[bundle]

    return get


@pytest.fixture(scope="session")
def exported(exports: Callable[[str], Export]) -> Path:
    """The exported folder of the distilled student."""
    return exports("seg_kd").folder
