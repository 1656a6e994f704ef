"""The demo's page, by gradio: nothing is loaded from elsewhere, nothing is counted, nobody else reaches it."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ckdmed.bundle.workflow import bundle_parser
from ckdmed.bundle_files import bundle_root
from ckdmed.demo.segmentation import Found, UnusableInput, segment
from ckdmed.json_files import read_json
from ckdmed.run_pages.case_pictures import colours_of

__all__ = ["ADDRESS", "build_page", "serve"]

ADDRESS = "127.0.0.1"
_LARGEST = "2gb"
_TITLE = "Brain tumour segmentation"
_SERIES = "one slice (PNG, JPEG, Figshare .mat, DICOM), one volume (NIfTI) or all files of one DICOM series"
_CASE = "the NIfTI files of one case together, one of each sequence, identified by the ends of their names: {sequences}"
_USE = (
    "Drop {what}. Everything stays on this machine and is deleted when the demo ends. **For research, not for "
    "diagnosis.**"
)


def build_page(bundle: Path, work: Path, checkpoint: Path | None = None) -> Any:
    """The page as gradio's Blocks, not yet served.

    Args:
        bundle: folder of the bundle whose network segments.
        work: folder for the files of the inferences.
        checkpoint: other weights than the bundle's own.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import gradio

    def found_in(files: list[str] | None) -> tuple[Any, ...]:
        try:
            found = segment([Path(file) for file in files or []], bundle, work, checkpoint)
        except UnusableInput as error:
            raise gradio.Error(str(error), duration=None, print_exception=False) from error
        most = len(found.images.slices) - 1
        slider = gradio.Slider(maximum=max(most, 1), value=found.first, visible=most > 0)
        return found, slider, found.picture(found.first), _words(found), [str(file) for file in found.files]

    def shown(found: Found | None, number: float, with_prediction: bool) -> Any:
        return None if found is None else found.picture(int(number), with_prediction)

    what = _wanted(bundle, checkpoint)
    with gradio.Blocks(title=_TITLE, analytics_enabled=False) as page:
        gradio.Markdown(f"# {_TITLE}\n{_USE.format(what=what)}")
        state = gradio.State(None)
        with gradio.Row():
            with gradio.Column():
                files = gradio.File(
                    label="Slice or series" if what == _SERIES else "Files of one case",
                    file_count="multiple",
                    elem_id="files",
                )
                button = gradio.Button("Segment", variant="primary", elem_id="segment")
                words = gradio.HTML(elem_id="words")
                masks = gradio.File(label="Masks", file_count="multiple", interactive=False, elem_id="masks")
            with gradio.Column():
                # without the button that sends a picture to a server to share it
                picture = gradio.Image(
                    label="Slice",
                    interactive=False,
                    format="png",
                    elem_id="picture",
                    buttons=["fullscreen", "download"],
                )
                number = gradio.Slider(0, 1, value=0, step=1, label="Slice", visible=False)
                overlay = gradio.Checkbox(value=True, label="Prediction")
        button.click(found_in, [files], [state, number, picture, words, masks], api_visibility="private")
        for changed in (number, overlay):
            changed.change(shown, [state, number, overlay], [picture], show_progress="hidden", api_visibility="private")
    return page


def serve(bundle: Path, checkpoint: Path | None = None, port: int | None = None, open_browser: bool = True) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C.

    What is uploaded and found lies in a folder of its own, which is removed at the end.

    Args:
        bundle, checkpoint: see `build_page`.
        port: a free one from 7860 by default.
        open_browser: whether to show it.

    Raises:
        OSError: the port is taken.
    """
    with TemporaryDirectory(prefix="ckdmed-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder, "uploads"))
        work = Path(folder, "work")
        work.mkdir()
        page = build_page(bundle, work, checkpoint)
        import gradio

        page.launch(
            server_name=ADDRESS,
            server_port=port,
            share=False,
            inbrowser=open_browser,
            max_file_size=_LARGEST,
            allowed_paths=[str(work)],
            # fonts of the system: gradio's own themes ask a server for theirs
            theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            mcp_server=False,
            ssr_mode=False,
        )


def _wanted(bundle: Path, checkpoint: Path | None) -> str:
    """What a person has to drop."""
    if "slice_axis" in read_json(bundle / "inference.json"):
        return _SERIES
    given = {} if checkpoint is None else {"checkpoint": str(checkpoint)}
    parser = bundle_parser(bundle, {"bundle_root": str(bundle_root(bundle)), **given}, "inference.json")
    return _CASE.format(sequences=", ".join(parser.get_parsed_content("modalities")))


def _words(found: Found) -> str:
    """HTML; what comes from files is escaped."""
    colours = colours_of(found.images.regions)
    several = len(colours) > 1
    lines = [
        (f'<span style="color:{colours[name]}">■</span> ' if several else "")
        + f"{escape(name)}: <b>{escape(amount)}</b>"
        for name, amount in found.amounts.items()
    ]
    if found.images.edges == ("R", "L"):
        lines.append("The patient's right is on the left.")
    elif found.images.edges is None:
        lines.append("The file does not state which side is the patient's right.")
    lines += [f"<b>{escape(warning)}</b>" for warning in found.warnings]
    return "".join(f"<p>{line}</p>" for line in lines)
