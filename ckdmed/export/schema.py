"""What the Model Zoo requires of a bundle's metadata, as a JSON schema.

It states the requirements of the zoo's schema of 2024-07-25 (which fields there must be, and of which type each is) in
our own words, so that metadata can be checked where nothing can be downloaded. The original is behind the URL in the
metadata's field ``schema``; a downloaded copy can be given to the exporter instead.
"""

from __future__ import annotations

from typing import Any

__all__ = ["METADATA_SCHEMA"]

_TEXT = {"type": "string"}
_MAPPING = {"type": "object"}

# of the fields named <network>_data_format
_TENSOR = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
    "properties": {
        **dict.fromkeys(("type", "format", "dtype"), _TEXT),
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": _MAPPING,
    },
}
_VALUES = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": ["number", "string", "boolean"]}, {"$ref": "#/$defs/tensor"}]},
}
_DATA_FORMAT = {
    "type": "object",
    "required": ["inputs", "outputs"],
    "properties": dict.fromkeys(("inputs", "outputs", "post_processed_outputs"), {"$ref": "#/$defs/values"}),
}

_REQUIRED = {
    **dict.fromkeys(("schema", "version", "monai_version", "pytorch_version", "numpy_version"), _TEXT),
    **dict.fromkeys(("task", "description", "authors", "copyright"), _TEXT),
    "required_packages_version": _MAPPING,
    "network_data_format": {"$ref": "#/$defs/data_format"},
}
_OPTIONAL = {
    **dict.fromkeys(("data_source", "data_type", "intended_use"), _TEXT),
    **dict.fromkeys(("image_classes", "label_classes", "pred_classes"), _TEXT),
    **dict.fromkeys(("changelog", "eval_metrics", "supported_apps"), _MAPPING),
    "references": {"type": "array", "items": _TEXT},
}

#: JSON schema (draft 2019-09) of a bundle's ``metadata.json``.
METADATA_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2019-09/schema",
    "$defs": {"tensor": _TENSOR, "values": _VALUES, "data_format": _DATA_FORMAT},
    "type": "object",
    "required": list(_REQUIRED),
    "properties": {**_REQUIRED, **_OPTIONAL},
    # a bundle of several networks describes each of them
    "patternProperties": {"^[A-Za-z0-9_]+_data_format$": {"$ref": "#/$defs/data_format"}},
}
