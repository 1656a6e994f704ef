"""Whether a DICOM series shows another part of the body than the head: brain and spine are often one study."""

from __future__ import annotations

import re

__all__ = ["shows_elsewhere"]

_HEAD = re.compile(r"head|brain|cereb|neuro|skull|cran|pitui|sella|orbit|\biac\b|kopf|hirn|sch(?:ae|ä)del|hypoph")
_ELSEWHERE = re.compile(
    r"spine(?!cho)|spinal|cervic|lumb|thora|sacr|\b[hbl]ws\b|wirbel|\bneck\b|\bhals\b|chest|abdom|pelvis|becken"
    r"|breast|mamma|\bliver|\bleber|kidney|prostat|cardiac|heart|herz|shoulder|schulter|knee|\bknie\b|\bhip\b"
    r"|h(?:ue|ü)fte|wrist|elbow|ankle|\bfoot\b|extremit|whole.?body"
)


def shows_elsewhere(names: str, body_part: str) -> bool:
    """Whether names or Body Part Examined (0018,0015) say another part of the body, and the names no part of the head.

    Args:
        names: of the series and the protocol.
        body_part: technologists often leave it as it was for the patient before, so that a name counts more.
    """
    if _HEAD.search(names.lower()):
        return False
    return bool(_ELSEWHERE.search(names.lower().replace("_", " ")) or _ELSEWHERE.search(body_part.lower()))
