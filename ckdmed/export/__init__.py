"""Writing a trained bundle in the layout of the MONAI Model Zoo."""

from __future__ import annotations

from ckdmed.export.checks import Check, check_bundle, check_sizes
from ckdmed.export.exporter import Export, export_bundle
from ckdmed.export.large_files import LIMIT, files_over_limit
from ckdmed.export.schema import METADATA_SCHEMA

__all__ = [
    "LIMIT",
    "METADATA_SCHEMA",
    "Check",
    "Export",
    "check_bundle",
    "check_sizes",
    "export_bundle",
    "files_over_limit",
]
