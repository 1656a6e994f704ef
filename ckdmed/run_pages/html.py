"""A page as one HTML file that asks nothing of any server."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from markupsafe import Markup

from .blocks import Page, SliceViewer, VolumeViewer
from .charts import bars_shapes, intervals_shapes, line_shapes

__all__ = ["html_of"]


def html_of(page: Page) -> str:
    """The page as HTML.

    Style, scripts and pictures are in the file. All text is escaped, and a content security policy lets nothing run but
    the scripts whose hashes it names, nothing be loaded and nothing be sent: a name in a record that got past the
    escaping would still do nothing.
    """
    blocks = [block for section in page.sections for block in section.blocks]
    slices = next((block for block in blocks if isinstance(block, SliceViewer)), None)
    volume = next((block for block in blocks if isinstance(block, VolumeViewer)), None)
    scripts = [_file("page.js")]
    if slices is not None:
        scripts.append(_file("slices.js"))
    if volume is not None:
        scripts += [_in_script(volume.script), _file("volume.js")]
    style = _file("page.css")
    text: str = (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            style=Markup(style),
            scripts=[Markup(script) for script in scripts],
            policy=_policy(style, scripts, volume is not None),
            slices=None if slices is None else _slices(slices),
            volume=None if volume is None else _volume(volume),
        )
    )
    return text


@cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    environment.filters["picture_type"] = lambda data: "png" if data[:4] == b"\x89PNG" else "jpeg"
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.globals.update(line_shapes=line_shapes, intervals_shapes=intervals_shapes, bars_shapes=bars_shapes)
    return environment


@cache
def _file(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _in_script(text: str) -> str:
    """A script that can stand in a page: what would end its element is written as JavaScript reads it the same."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _policy(style: str, scripts: list[str], with_volume: bool) -> str:
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    parts = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{_hash(style)}'",
        "script-src": hashes,
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    if with_volume:
        # NiiVue unpacks its fonts and volumes from what is in the page, and compiles what packs NIfTI files
        parts |= {
            "img-src": "data: blob:",
            "connect-src": "data: blob:",
            "worker-src": "blob:",
            "script-src": f"{hashes} 'wasm-unsafe-eval'",
        }
    return "; ".join(f"{name} {value}" for name, value in parts.items())


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _slices(viewer: SliceViewer) -> Mapping[str, Any]:
    return {
        "frames": [base64.b64encode(frame).decode("ascii") for frame in viewer.frames],
        "masks": [base64.b64encode(mask).decode("ascii") for mask in viewer.masks],
        "captions": list(viewer.captions),
    }


def _volume(viewer: VolumeViewer) -> Mapping[str, Any]:
    return {
        "image": base64.b64encode(viewer.image).decode("ascii"),
        "mask": base64.b64encode(viewer.mask).decode("ascii"),
        "values": list(viewer.regions),
        "names": [name for name, _ in viewer.regions.values()],
        "centre": list(viewer.centre_mm),
        "colours": [colour for _, colour in viewer.regions.values()],
    }
