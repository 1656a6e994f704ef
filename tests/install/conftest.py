from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.install.environments import ROOT, copy_of_checkout, environment_of, install, needed_by


@pytest.fixture(scope="session")
def plain_packages() -> set[str]:
    """What ``pip install ckdmed`` brings besides the package."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options"]["install_requires"].splitlines()
    return needed_by(Requirement(line) for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout."""
    return copy_of_checkout(tmp_path_factory.mktemp("checkout") / "ckdmed")


@pytest.fixture(scope="session")
def readme_python(checkout: Path, plain_packages: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the README's install of that copy."""
    python = environment_of(tmp_path_factory.mktemp("readme") / "environment", plain_packages)
    install(python, "--editable", str(checkout))
    return python
