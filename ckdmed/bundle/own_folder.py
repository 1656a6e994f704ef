"""The folder in which a bundle lies, whatever the working directory."""

from __future__ import annotations

from pathlib import Path

from ckdmed.bundle.running import running_workflow

__all__ = ["own_folder"]


def own_folder() -> str:
    """The folder of the bundle in whose configuration the calling expression stands.

    It is the folder of the configuration file that is run (the first one where several are laid over each other), or
    the one above where that is called ``configs``, as in an exported bundle. A configuration that is only parsed,
    without a workflow around it, has the working directory. Relative where it lies in the working directory.
    """
    workflow = running_workflow()
    folder = Path("." if workflow is None else workflow.config_root_path).resolve()
    if folder.name == "configs":
        folder = folder.parent
    here = Path.cwd().resolve()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
