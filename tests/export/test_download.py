"""`monai.bundle download --url` of the archive of each export, from a server on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from monai.bundle import ConfigParser, download

from ckdmed.export.archive import archive_of, write_archive
from ckdmed.folders import files_below
from tests.export.tiny import BUNDLES

# by default one of slices, one of classes, one of cases
SAMPLE = ("seg_kd",)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.mark.parametrize(
    "bundle", [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.slow) for name in BUNDLES]
)
def test_an_export_is_downloaded(bundle, exports, served, tmp_path):
    source = exports(bundle).folder
    folder, address = served
    archive = write_archive(source)
    archive.rename(folder / archive.name)
    target = tmp_path / "downloaded"
    download(name=source.name, url=f"{address}/{archive.name}", bundle_dir=str(target), progress=False)
    assert files_below(target / source.name) == files_below(source)
    for name in files_below(source):
        assert (target / source.name / name).read_bytes() == (source / name).read_bytes()
    parser = ConfigParser()
    parser.read_config(str(target / source.name / "configs/inference.json"))
    assert parser.get_parsed_content("network_def") is not None


def test_an_archive_has_its_version_in_its_name_and_the_same_bytes_again(exported):
    version = json.loads((exported / "configs/metadata.json").read_text())["version"]
    assert archive_of(exported).name == f"brain_tumour_seg_kd_v{version}.zip"
    path = write_archive(exported, force=True)
    first = path.read_bytes()
    with pytest.raises(FileExistsError, match="--force"):
        write_archive(exported)
    assert write_archive(exported, force=True).read_bytes() == first
    path.unlink()
