"""Knowledge distillation for brain tumour imaging, built on MONAI."""

from __future__ import annotations

import importlib
from types import ModuleType

__version__ = "0.1.0"

_SUBPACKAGES = frozenset(
    (
        "bundle",
        "cli",
        "clinic",
        "data",
        "demo",
        "deploy",
        "dicom_node",
        "dicom_results",
        "engines",
        "experiments",
        "export",
        "handlers",
        "inference",
        "inferers",
        "intended_inputs",
        "losses",
        "methods",
        "metrics",
        "networks",
        "preparation",
        "pruning",
        "pseudo_labels",
        "recipes",
        "reports",
        "run_pages",
        "runtime",
        "sections",
        "transforms",
        "zoo_teacher",
    )
)


def __getattr__(name: str) -> ModuleType:
    # a bundle's configuration says "$import ckdmed" and then names what it needs; importing all of it here would make
    # every use of one reader pay for the engines
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBPACKAGES})
