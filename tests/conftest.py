"""What every test gets: seeds, one thread, no display, and the real data where they are at hand."""

from __future__ import annotations

import configparser
import logging
import os
import random
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Before anything imports matplotlib; the processes that tests start inherit it.
os.environ["MPLBACKEND"] = "Agg"

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from monai.bundle.config_item import ComponentLocator  # noqa: E402
from packaging.requirements import Requirement  # noqa: E402
from PIL import Image  # noqa: E402
from PIL.PngImagePlugin import PngInfo  # noqa: E402

from tests.install.environments import copy_of_checkout, environment_of, install, needed_by  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

# Derandomised: a red run is red again. No deadline: a first call may compile or read from a cold disk.
settings.register_profile("ckdmed", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("ckdmed")

# The test processes share the cores; each of them stays on one.
torch.set_num_threads(1)
# Denormal numbers late in a training slow a CPU down many times over.
torch.set_flush_denormal(True)

# A shell lets what it starts in the background ignore Ctrl-C, and the programs that tests start and stop inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="run the tests marked slow too")
    parser.addoption("--runnetwork", action="store_true", help="run the tests marked network too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    skips = {}
    for marker in ("slow", "network"):
        if not config.getoption(f"--run{marker}"):
            skips[marker] = pytest.mark.skip(reason=f"marked {marker}: runs with --run{marker}")
    if not torch.cuda.is_available():
        skips["gpu"] = pytest.mark.skip(reason="marked gpu: no CUDA device here")
    for item in items:
        for marker, skip in skips.items():
            if marker in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def _one_look_through_monai() -> Iterator[None]:
    """MONAI looks through all of its modules for every parser of a config; here once in a process."""
    with pytest.MonkeyPatch.context() as patch:
        found = ComponentLocator._find_classes_or_functions
        tables: dict[tuple[str, ...], dict[str, list[str]]] = {}

        def kept(self: ComponentLocator, names: list[str]) -> dict[str, list[str]]:
            key = tuple(names)
            if key not in tables:
                tables[key] = found(self, names)
            return tables[key]

        patch.setattr(ComponentLocator, "_find_classes_or_functions", kept)
        yield


@pytest.fixture
def pictures_not_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made as ever, but saved as one white pixel: rendering takes a quarter of a short training's time."""

    def save(self: Figure, file: Any, metadata: Mapping[str, str | None], **options: Any) -> None:
        texts = PngInfo()
        for name, text in metadata.items():
            if text is not None:
                texts.add_text(name, text)
        Image.new("RGB", (1, 1), "white").save(file, format="png", pnginfo=texts)

    monkeypatch.setattr(Figure, "savefig", save)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: CKDMED_DATA, else ../shared/data beside the checkout. Read only."""
    named = os.environ.get("CKDMED_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        where = "which CKDMED_DATA names" if named else "and CKDMED_DATA is not set"
        pytest.skip(f"real data absent: no folder {folder}, {where}")
    return folder


@pytest.fixture(scope="session")
def figshare_mat_dir(shared_data: Path) -> Path:
    """Original Figshare .mat files, `<id>.mat`."""
    folder = shared_data / "figshare_mat"
    if not any(folder.glob("*.mat")):
        pytest.skip(f"real data absent: no .mat file in {folder}")
    return folder


@pytest.fixture
def process_as_it_was() -> Iterator[None]:
    """Log handlers and levels, and freedom of chance, as they were before a bundle ran in this process."""
    from monai.utils import set_determinism

    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    set_determinism(None)


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, for pages and the site."""
    from tests.run_pages.browser import Browser, chromium

    program = chromium()
    if program is None:
        pytest.skip("no Chromium here")
    with Browser(program) as opened:
        yield opened
