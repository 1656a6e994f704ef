"""Sending results to the destination by C-STORE."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config

from ckdmed.dicom_node.settings import NodeSettings

__all__ = ["SendError", "send_files"]

logger = logging.getLogger("ckdmed.dicom_node")

# Coercion and warnings: the object is stored (DICOM PS3.4 B.2.3).
_STORED = (0x0000, 0xB000, 0xB006, 0xB007)


class SendError(RuntimeError):
    """The destination could not be reached, or did not take an object; it is worth another try."""


def send_files(settings: NodeSettings, files: Sequence[Path], confirmed: Callable[[Path], object]) -> None:
    """Send files over one connection.

    Args:
        settings: of the node.
        files: DICOM objects, in the order in which they are sent.
        confirmed: called with each as soon as the destination has said that it has it.

    Raises:
        SendError: see there; what was confirmed before stays confirmed.
    """
    goal = settings.destination
    entity = AE(settings.title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = settings.timeout_s
    entity.connection_timeout = settings.timeout_s
    # to send files as they are: a thousand frames take long to read and to write again, in which a connection may end
    _config.STORE_SEND_CHUNKED_DATASET = True
    kinds = {file: _kind(file) for file in files}
    for sop_class in sorted({sop_class for sop_class, _ in kinds.values()}):
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
            entity.add_requested_context(sop_class, syntax)
    association = entity.associate(goal.host, goal.port, ae_title=goal.title)
    if not association.is_established:
        raise SendError(f"{goal.title} at {goal.host}:{goal.port} does not accept a connection.")
    taken = {(str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in association.accepted_contexts}
    try:
        for file in files:
            try:
                answer = association.send_c_store(file if kinds[file] in taken else dcmread(file))
            except (ValueError, RuntimeError) as error:
                raise SendError(f"{goal.title} does not accept {file.name}: {error}") from error
            status = answer.get("Status")
            if status is None:
                raise SendError(f"{goal.title} aborted the connection at {file.name}.")
            if status not in _STORED:
                comment = " ".join(str(answer.get("ErrorComment", "")).split())
                raise SendError(f"{goal.title} refused {file.name} with status 0x{status:04X} {comment}".rstrip() + ".")
            confirmed(file)
    finally:
        if association.is_established:
            association.release()


def _kind(file: Path) -> tuple[str, str]:
    """SOP class and transfer syntax."""
    header = dcmread(file, specific_tags=["SOPClassUID"], stop_before_pixels=True)
    return str(header.SOPClassUID), str(header.file_meta.TransferSyntaxUID)
