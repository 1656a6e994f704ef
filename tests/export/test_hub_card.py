"""What a model hub gets by MONAI's ``push_to_hf_hub``, with a hub that only looks."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from monai.bundle import push_to_hf_hub, scripts

from tests.export.tiny import BUNDLES, ROOT

# that a reader of a card looks for, as the Model Zoo names them
SECTIONS = ("# Model Overview", "## Data", "## Performance", "# Limits", "# License")


class Hub:
    """Notes what it is asked for."""

    asked: list[tuple[str, dict[str, Any]]] = []

    def __init__(self, token: str | None = None) -> None:
        del token

    def __getattr__(self, name: str) -> Any:
        return lambda **given: self.asked.append((name, given)) or "https://hub.invalid/model"


@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_card_of_a_bundle(bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scripts, "huggingface_hub", SimpleNamespace(HfApi=Hub))
    monkeypatch.setattr(Hub, "asked", [])
    name = f"brain_tumour_{bundle}"
    source = ROOT / "bundles" / bundle
    shutil.copytree(source / "docs", tmp_path / name / "docs")
    shutil.copyfile(source / "LICENSE", tmp_path / name / "LICENSE")
    push_to_hf_hub(f"owner/{name}", name, str(tmp_path), version="0.1.0")
    assert [call for call, _ in Hub.asked] == ["create_repo", "upload_folder", "create_tag"]
    assert Hub.asked[1][1]["folder_path"] == str(tmp_path / name)
    card = (tmp_path / name / "README.md").read_text(encoding="utf-8")
    _, head, text = card.split("---\n", 2)
    assert yaml.safe_load(head) == {"tags": ["monai", "medical"], "library_name": "monai", "license": "apache-2.0"}
    assert text == (source / "docs/README.md").read_text(encoding="utf-8")
    missing = [section for section in SECTIONS if f"\n{section}\n" not in f"\n{text}"]
    assert not missing
    # nothing that the hub's page cannot show: pictures are linked by address or lie in the bundle
    for line in text.splitlines():
        if line.startswith("!["):
            place = line.partition("](")[2].partition(")")[0]
            assert place.startswith("https://") or (tmp_path / name / place).is_file(), line


def test_the_hubs_own_library_takes_what_monai_gives_it():
    hub = pytest.importorskip("huggingface_hub")
    signature = inspect.signature
    signature(hub.HfApi.create_repo).bind(None, repo_id="owner/name", private=True, exist_ok=True)
    signature(hub.HfApi.upload_folder).bind(None, repo_id="owner/name", folder_path=".")
    signature(hub.HfApi.create_tag).bind(None, repo_id="owner/name", tag="0.1.0", exist_ok=True)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_hubs_own_library_reads_the_card(bundle: str, tmp_path: Path):
    hub = pytest.importorskip("huggingface_hub")
    place = tmp_path / "README.md"
    shutil.copyfile(ROOT / "bundles" / bundle / "docs/README.md", place)
    shutil.copyfile(ROOT / "bundles" / bundle / "LICENSE", tmp_path / "LICENSE")
    scripts._add_model_card_metadata(str(place))
    data = hub.ModelCard.load(place).data
    assert (data.license, data.library_name, data.tags) == ("apache-2.0", "monai", ["monai", "medical"])
