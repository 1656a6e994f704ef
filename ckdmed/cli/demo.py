"""`ckdmed demo`: a page on this machine where a person drops a slice or a series and sees the mask."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "demo"
HELP = (
    "open a local page (127.0.0.1 only) that segments the slice or series you drop on it (extra demo). "
    "Nothing is loaded from or sent to other machines; dropped files are deleted when the demo ends"
)
EXAMPLES = (
    "ckdmed demo",
    "ckdmed demo --bundle seg_kd --checkpoint output/models/model.pt --port 7870 --no-browser",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("--bundle", default="seg_kd", help="bundle name or folder (default: seg_kd, which has weights)")
    parser.add_argument("--checkpoint", type=Path, help="other weights than those in the bundle")
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C.

    Returns:
        0.
    """
    from ckdmed.bundle_files import bundle_configs, bundle_root
    from ckdmed.demo.page import serve
    from ckdmed.inference.several_images import refuse_several_images
    from ckdmed.inference.unrecorded import refuse_unrecorded
    from ckdmed.json_files import read_json

    bundle = bundle_configs(str(Path(args.bundle).expanduser()))
    if "class_names" in read_json(bundle / "inference.json"):
        raise ValueError(f"{args.bundle}: its network classifies, but the demo shows masks; give one that segments.")
    weights = args.checkpoint.expanduser() if args.checkpoint else bundle_root(bundle) / "models" / "model.pt"
    if not weights.is_file():
        raise FileNotFoundError(
            f"{weights}: there are no such weights; give those of a training with --checkpoint, or a bundle that has "
            "some (seg_kd)."
        )
    refuse_unrecorded(bundle, weights)
    refuse_several_images(args.bundle, bundle, weights)
    serve(bundle, None if args.checkpoint is None else weights.absolute(), args.port, not args.no_browser)
    return 0
