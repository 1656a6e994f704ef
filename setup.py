"""Puts the bundles into a wheel, inside the package; everything else about the package is in setup.cfg."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
#: In bytes, of one file.
LARGEST = 10_000_000

bundles = runpy.run_path(str(ROOT / "ckdmed" / "bundle_files.py"))


class BuildWithBundles(build_py):
    """Copies the bundles beside the modules; an editable install finds them in the checkout."""

    def run(self) -> None:
        super().run()
        for source, target in self.bundle_targets().items():
            if source.stat().st_size > LARGEST:
                raise ValueError(
                    f"{source} has {source.stat().st_size} bytes, a wheel takes at most {LARGEST} of one file; store "
                    "the weights in half precision (tools/halve_checkpoint.py)."
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *map(str, self.bundle_targets().values())]

    def bundle_targets(self) -> dict[Path, Path]:
        """File in the checkout -> its place in the package."""
        if self.editable_mode:
            return {}
        place = Path(self.build_lib) / "ckdmed" / bundles["INSTALLED"]
        return {
            ROOT / "bundles" / name / file: place / name / file
            for name in bundles["bundle_names"](ROOT / "bundles")
            for file in bundles["bundle_files"](ROOT / "bundles" / name)
        }


setup(cmdclass={"build_py": BuildWithBundles})
