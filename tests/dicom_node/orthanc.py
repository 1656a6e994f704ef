"""Debian's Orthanc as an archive on the loopback that sends each MR series on to the node when it is stable."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.dicom_node.harness import free_port, wait_for

_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_ROUTE = """
function OnStableSeries(series, tags, metadata)
    if tags['Modality'] == 'MR' then
        RestApiPost('/modalities/node/store', series)
    end
end
"""


class Orthanc:
    """One that runs.

    Args:
        http, dicom: its ports.
    """

    title = "ARCHIVE"

    def __init__(self, http: int, dicom: int) -> None:
        self.http, self.port = http, dicom

    def get(self, path: str, data: bytes | None = None, accept: str = "*/*") -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data, {"Accept": accept})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def json(self, path: str, question: Any = None, accept: str = "*/*") -> Any:
        return json.loads(self.get(path, None if question is None else json.dumps(question).encode(), accept))

    def find(self, modality: str, level: str = "Instance") -> list[str]:
        """Orthanc's identifiers of what is of a modality."""
        query = {"Level": level, "Query": {"Modality": modality}}
        return [str(item) for item in self.json("/tools/find", query)]

    def is_up(self) -> bool:
        try:
            return bool(self.json("/system"))
        except (urllib.error.URLError, ConnectionError):
            return False


@contextmanager
def orthanc(folder: Path, node_port: int) -> Iterator[Orthanc]:
    """Start one in a folder of its own, and stop it; the test is skipped where it is not installed."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None or not _DICOMWEB.is_file():
        pytest.skip("no Orthanc here (Debian packages orthanc, orthanc-dicomweb)")
    folder.mkdir()
    (folder / "route.lua").write_text(_ROUTE)
    archive = Orthanc(free_port(), free_port())
    config = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": archive.http,
        "DicomPort": archive.port,
        "DicomAet": Orthanc.title,
        "RemoteAccessAllowed": False,
        "HttpBindAddresses": ["127.0.0.1"],
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "StableAge": 2,
        "LuaScripts": [str(folder / "route.lua")],
        "DicomModalities": {"node": ["CKDMED", "127.0.0.1", node_port]},
        "Plugins": [str(_DICOMWEB)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    with open(folder / "orthanc.log", "wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            wait_for(lambda: archive.is_up() or process.poll() is not None, what="Orthanc to start")
            assert process.poll() is None, (folder / "orthanc.log").read_text(errors="replace")
            yield archive
        finally:
            process.terminate()
            process.wait(30)
