"""Entries of components that a run was given otherwise than its bundle has them, such as ``optimizer#weight_decay``."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.reference_resolver import ReferenceResolver

from ckdmed.bundle.typed_settings import named_files, typed_settings

__all__ = ["NO_COMPONENTS", "component_overrides"]

#: What MONAI itself reads by name at the top of a configuration, which is no component.
NO_COMPONENTS = frozenset({"imports", "initialize", "run", "finalize", "_meta_", "evaluate", "save_execute_config"})

_SEPARATOR = "::"
_OF_BUNDLE = frozenset({"train.json", "evaluate.json", "inference.json", "multi_gpu_train.json"})


def component_overrides(
    workflow: ConfigWorkflow, settings: Collection[str], also: Collection[str] = ()
) -> dict[str, Any]:
    """Id -> content of everything that was given and that is no setting, as it stands in the configuration.

    Given are entries on the command line or by a program, and what a configuration file beside the bundle's own ones
    holds, which replaces or adds components. Ids are written with ``#``, as on the command line.

    Args:
        workflow: that is running. What a program gave it is in its attribute ``given``
            (`ckdmed.bundle.workflow.bundle_workflow`), what a user typed on the command line.
        settings: names of the settings, which are recorded as such.
        also: further ids, given or not, such as those of an earlier run: a workflow that a program made by itself does
            not tell what it was given.
    """
    config = workflow.parser.get()
    found: dict[str, Any] = {}
    for name in sorted(
        {*typed_settings(), *getattr(workflow, "given", ()), *_in_files_over_the_bundle(workflow), *also}
    ):
        id_ = ReferenceResolver.normalize_id(name)
        top = id_.split(_SEPARATOR)[0]
        nested_or_component = id_ != top or isinstance(config.get(top), (Mapping, list))
        if top in config and top not in NO_COMPONENTS and top not in settings and nested_or_component:
            found[id_.replace(_SEPARATOR, "#")] = json.loads(json.dumps(workflow.parser.get(id_), default=str))
    return found


def _in_files_over_the_bundle(workflow: ConfigWorkflow) -> set[str]:
    """Keys of the files that a user lays over the bundle's own."""
    root = workflow.config_root_path.resolve()
    found: set[str] = set()
    # the first one is the bundle, under whatever name
    for path in named_files()[1:]:
        of_bundle = path.name in _OF_BUNDLE and path.resolve().parent == root
        if not of_bundle and path.is_file():
            # a plus before a key merges into what is there
            found |= {key.lstrip("+") for key in ConfigParser.load_config_file(str(path))}
    return found
