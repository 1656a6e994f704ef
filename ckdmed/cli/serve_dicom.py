"""`ckdmed serve-dicom`: a DICOM node."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "serve-dicom"
HELP = "receive MR series by DICOM, segment or classify them, and send the results to an archive; for research use only"
EXAMPLES = (
    "ckdmed serve-dicom --spool spool --send-to ARCHIVE@127.0.0.1:4242",
    "ckdmed serve-dicom --spool spool --send-to ARCHIVE@10.0.0.5:104 --bind 10.0.0.9 --allow ARCHIVE SCANNER1",
)
STATUSES = {0: "stopped by SIGTERM or Ctrl-C; unfinished work resumes at the next start"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("--spool", type=Path, required=True, metavar="FOLDER", help="folder for work in progress")
    parser.add_argument(
        "--send-to", required=True, metavar="TITLE@HOST:PORT", help="DICOM node that receives the results"
    )
    listen = parser.add_argument_group("who may send")
    listen.add_argument("--title", default="CKDMED", help="the node's own AE title (default: %(default)s)")
    listen.add_argument(
        "--bind",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on (default: %(default)s, this machine only)",
    )
    listen.add_argument("--port", type=int, default=11112, help="port to listen on (default: %(default)s)")
    listen.add_argument(
        "--allow", nargs="+", default=[], metavar="TITLE", help="AE titles that may send (default: that of --send-to)"
    )
    work = parser.add_argument_group("what is done")
    work.add_argument("--bundle", default="seg_kd", help="bundle name or folder (default: %(default)s)")
    work.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="weights other than the bundle's: from your own training, or a file written by `ckdmed deploy`",
    )
    work.add_argument(
        "--quiet-time",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="time without a new image after which a series counts as complete (default: %(default)s)",
    )
    work.add_argument("--fractional", action="store_true", help="also send the probabilities")
    work.add_argument("--captures", action="store_true", help="also send pictures, as secondary captures")
    work.add_argument(
        "--send-unintended",
        action="store_true",
        help="also send results for inputs that the network was not trained for; they are marked as such",
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-instance-mib", type=int, default=128, help="largest file, in MiB (default: %(default)s)")
    limits.add_argument(
        "--max-instances", type=int, default=2000, help="most images in a series (default: %(default)s)"
    )
    limits.add_argument("--max-series", type=int, default=200, help="most waiting series (default: %(default)s)")
    limits.add_argument("--max-connections", type=int, default=10, help="most open connections (default: %(default)s)")
    limits.add_argument(
        "--min-free-mib",
        type=int,
        default=1024,
        help="free space to keep on the spool's disk, in MiB (default: %(default)s)",
    )
    limits.add_argument(
        "--keep-hours",
        type=float,
        default=24.0,
        help="how long finished series stay in the spool (default: %(default)s)",
    )
    limits.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="network timeout (default: %(default)s)"
    )
    log = parser.add_argument_group("log")
    log.add_argument(
        "--health-every",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="interval of the health line in the log (default: %(default)s)",
    )
    log.add_argument("--log-patients", action="store_true", help="allow names and identifiers of patients in the log")


def run(args: argparse.Namespace) -> int:
    """Serve until told to end.

    Returns:
        0.
    """
    import logging

    from ckdmed.bundle_files import bundle_configs
    from ckdmed.dicom_node.node import serve
    from ckdmed.dicom_node.settings import NodeSettings, parse_destination
    from ckdmed.dicom_node.worker import check_weights

    settings = NodeSettings(
        spool=args.spool,
        destination=parse_destination(args.send_to),
        bundle=bundle_configs(args.bundle),
        title=args.title,
        bind=args.bind,
        port=args.port,
        allowed=tuple(args.allow),
        quiet_s=args.quiet_time,
        send_unintended=args.send_unintended,
        fractional=args.fractional,
        captures=args.captures,
        max_instance_bytes=args.max_instance_mib << 20,
        max_instances=args.max_instances,
        max_series=args.max_series,
        min_free_bytes=args.min_free_mib << 20,
        max_connections=args.max_connections,
        keep_hours=args.keep_hours,
        timeout_s=args.timeout,
        health_s=args.health_every,
        log_patients=args.log_patients,
        checkpoint=None if args.checkpoint is None else args.checkpoint.expanduser().absolute(),
    )
    check_weights(args.bundle, settings.bundle, settings.checkpoint)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", force=True)
    logging.getLogger("ckdmed").setLevel(logging.INFO)
    return serve(settings)
