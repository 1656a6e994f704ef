"""The door: takes MR images by C-STORE from those who may send, and answers C-ECHO."""

from __future__ import annotations

import logging
import tempfile
import threading
from pathlib import Path
from typing import Any

import pynetdicom
from pydicom import Dataset
from pydicom.uid import (
    JPEG2000,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    RLELossless,
)
from pynetdicom import AE, evt

from ckdmed.atomic_files import DISK_FULL
from ckdmed.counted import counted
from ckdmed.dicom_node.instance_check import NO_RESOURCES, InstanceRefused, read_instance
from ckdmed.dicom_node.settings import NodeSettings
from ckdmed.dicom_node.spool import Spool

__all__ = ["Receiver"]

logger = logging.getLogger("ckdmed.dicom_node")

_SUCCESS = 0x0000
# the SOP class of C-ECHO
_VERIFICATION = "1.2.840.10008.1.1"
_MR = (MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
# Those that the readers decode; deflated files could inflate without end, and are not among them.
_SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    *JPEGTransferSyntaxes,
    *JPEGLSTransferSyntaxes,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
]


class Receiver:
    """Listens until it is stopped.

    Args:
        settings: of the node.
        spool: where the images go.
    """

    def __init__(self, settings: NodeSettings, spool: Spool) -> None:
        self.settings = settings
        self.spool = spool
        self.received = 0
        self.refused = 0
        self._lock = threading.Lock()
        self._server: Any = None
        # bytes of the file that each connection is sending, by its identity
        self._bytes: dict[int, int] = {}
        self._warned: set[str] = set()

    def start(self) -> int:
        """Listen.

        Returns:
            the port.

        Raises:
            OSError: the address is taken, or is none of this machine.
        """
        # files are written as they come, so that memory does not depend on their size; into the spool's own disk, where
        # taking them is a change of name
        pynetdicom._config.STORE_RECV_CHUNKED_DATASET = True
        tempfile.tempdir = str(self.spool.receiving)
        entity = AE(self.settings.title)
        entity.require_called_aet = True
        entity.require_calling_aet = self.settings.callers
        entity.maximum_associations = self.settings.max_connections
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = self.settings.timeout_s
        entity.add_supported_context(_VERIFICATION)
        for sop_class in _MR:
            entity.add_supported_context(sop_class, _SYNTAXES)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_PDU_RECV, self._count),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_ABORTED, self._aborted),
        ]
        address = (self.settings.bind, self.settings.port)
        self._server = entity.start_server(address, block=False, evt_handlers=handlers)
        return int(self._server.socket.getsockname()[1])

    def stop(self) -> None:
        """Take no more connections and end those that are open; a file that was answered for stays."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None
            tempfile.tempdir = None

    def connections(self) -> int:
        """How many are open."""
        return 0 if self._server is None else len(self._server.active_associations)

    def _store(self, event: evt.Event) -> int | Dataset:
        self._bytes.pop(id(event.assoc), None)
        caller = event.assoc.requestor.ae_title.strip()
        try:
            self._check_room()
            request: Any = event.request
            path = Path(event.dataset_path)
            # the header says what it is; the request is what it was called
            found = read_instance(path, str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
            self._check_series(found.series)
            new = self.spool.add(found.series, found.instance, path)
            # the first that is too many is kept, by which the node knows that it has not all of the series
            self._check_series(found.series)
        except InstanceRefused as refusal:
            return self._refuse(caller, refusal)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            return self._refuse(caller, InstanceRefused(NO_RESOURCES, "the disk is full"))
        with self._lock:
            self.received += new
        patient = f", of patient {found.patient}" if self.settings.log_patients else ""
        if new and self.spool.count(found.series) == 1:
            logger.info(f"series {found.series}: first image, from {caller}{patient}")
        return _SUCCESS

    def _check_room(self) -> None:
        if self.spool.free_bytes() < self.settings.min_free_bytes:
            raise InstanceRefused(NO_RESOURCES, "not enough space on the disk")

    def _check_series(self, series: str) -> None:
        count = self.spool.count(series)
        if count > self.settings.max_instances:
            raise InstanceRefused(NO_RESOURCES, f"the series has more than {counted(count - 1, 'image')}, the limit")
        if count == 0 and self.spool.waiting() >= self.settings.max_series:
            raise InstanceRefused(NO_RESOURCES, f"{self.settings.max_series} series are waiting, the limit")

    def _refuse(self, caller: str, refusal: InstanceRefused) -> Dataset:
        with self._lock:
            self.refused += 1
        logger.warning(f"refused an image from {caller}: {refusal.cause} (status 0x{refusal.status:04X})")
        answer = Dataset()
        answer.Status = refusal.status
        answer.ErrorComment = refusal.cause
        return answer

    def _count(self, event: evt.Event) -> None:
        """End a connection whose file is larger than is allowed, or for which the disk has no room."""
        pdu = event.pdu
        if getattr(pdu, "pdu_type", None) != 0x04:
            return
        with self._lock:
            before = self._bytes.get(id(event.assoc), 0)
            now = self._bytes[id(event.assoc)] = before + pdu.pdu_length
        cause = ""
        if now > self.settings.max_instance_bytes:
            cause = f"its file is larger than {self.settings.max_instance_bytes} bytes"
        elif now >> 20 != before >> 20 and self.spool.free_bytes() < self.settings.min_free_bytes:
            cause = "there is not enough space on the disk"
        if cause:
            self._bytes[id(event.assoc)] = 0
            self._end(event.assoc, cause)

    def _end(self, association: Any, cause: str) -> None:
        with self._lock:
            self.refused += 1
        logger.warning(f"closed the connection of {association.requestor.ae_title.strip()}: {cause}")
        # the thread that reads the connection must go on for the abort to be carried out
        threading.Thread(target=association.abort, daemon=True).start()

    def _closed(self, event: evt.Event) -> None:
        self._bytes.pop(id(event.assoc), None)

    def _rejected(self, event: evt.Event) -> None:
        title = event.assoc.requestor.ae_title.strip()
        logger.warning(f"rejected a connection of {title!r}: not an allowed AE title, or too many connections")

    def _aborted(self, event: evt.Event) -> None:
        logger.warning(f"a connection of {event.assoc.requestor.ae_title.strip()!r} was aborted")
