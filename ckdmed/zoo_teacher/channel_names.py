"""Which sequence or region a bundle's channel is, by what its metadata call it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from ckdmed.zoo_teacher.errors import TeacherBundleError

__all__ = ["match_modalities", "match_outputs", "match_regions", "sequences"]


# of a name in small letters whose signs are blanks
_AGENT = r"(contrast|enhanc|gad|gd|ce|km|kmc|c)"
_WITHOUT_CONTRAST = rf"without|\bw o\b|\bno\b|\bnon ?({_AGENT}|$)|\bpre ?({_AGENT}|$)|unenhanc|native|\bt1 ?n\b"
_WITH_CONTRAST = r"contrast|enhanc|\bgad|\bpost|\b(cet1|t1w?c|t1w?ce|t1w?gd|t1w?km|t1w?kmc|t1w?post|ce|gd|km|kmc|c)w?\b"


def _modality(words: str) -> str | None:
    text = re.sub(r"[^a-z0-9*]+", " ", words.lower()).strip()
    t1, flair = re.search(r"\b(ce)?t1", text), re.search(r"flair|\bt2 ?f\b", text)
    if flair:
        # there is a T1-weighted FLAIR too
        return None if t1 else "t2f"
    if re.search(r"\bt2", text):
        return None if t1 or re.search(r"\*|\bstar\b", text) else "t2w"
    if not t1:
        return None
    if re.search(_WITHOUT_CONTRAST, text):
        return "t1n"
    return "t1c" if re.search(_WITH_CONTRAST, text) else "t1n"


def _region(words: str) -> str | None:
    text = words.lower()
    if re.search(r"non[-_ ]?enhanc|oedema|edema|necro|background", text):
        return None
    if re.search(r"\bwhole(?![-_ ]?(brain|head))|\bwt\b", text):
        return "WT"
    if re.search(r"\bcore|\btc\b", text):
        return "TC"
    return "ET" if re.search(r"\benhanc|\bet\b", text) else None


def _match(channels: Mapping[int, str], wanted: Sequence[str], read: Callable[[str], str | None], what: str) -> dict:
    found: dict[str, int] = {}
    for number, words in sorted(channels.items()):
        name = read(words)
        if name is None:
            continue
        if name in found:
            raise TeacherBundleError(
                f"channels {found[name]} ('{channels[found[name]]}') and {number} ('{words}') of the bundle both read "
                f"as the {what} {name}: name them apart in its metadata (channel_def)."
            )
        found[name] = number
    if missing := [name for name in wanted if name not in found]:
        listed = ", ".join(f"{number}: '{words}'" for number, words in sorted(channels.items()))
        raise TeacherBundleError(
            f"the bundle has no {what} that reads as {', '.join(missing)}; its metadata name {listed}. Which is which "
            "is never assumed: name them in its metadata (channel_def), or choose another bundle."
        )
    return found


def sequences(channels: Mapping[int, str]) -> list[str | None]:
    """What each channel reads as: t1n, t1c, t2w, t2f, or None for none of them."""
    return [_modality(words) for _, words in sorted(channels.items())]


def match_modalities(channels: Mapping[int, str], modalities: Sequence[str]) -> list[int]:
    """For each of the bundle's channels, which of the modalities it is: positions in ``modalities``.

    Args:
        channels: number -> name in the metadata, such as "T1c", "T1-weighted with contrast" or "FLAIR".
        modalities: what the student's batch holds: t1n, t1c, t2w, t2f.

    Raises:
        TeacherBundleError: a channel that reads as none of them, or two that read as the same; the teacher needs each.
    """
    if sorted(channels) != list(range(len(channels))):
        raise TeacherBundleError(f"the bundle's channels are numbered {sorted(channels)}; they must run from 0.")
    unread = {number: words for number, words in channels.items() if _modality(words) not in modalities}
    if unread:
        listed = ", ".join(f"{number}: '{words}'" for number, words in sorted(unread.items()))
        raise TeacherBundleError(
            f"the bundle's channels {listed} read as none of the modalities {', '.join(modalities)}: add theirs to "
            "--modalities, or name them in its metadata (channel_def)."
        )
    names = _match(channels, [], _modality, "sequence")
    return [list(modalities).index(name) for name, _ in sorted(names.items(), key=lambda pair: pair[1])]


def match_regions(channels: Mapping[int, str], regions: Sequence[str]) -> list[int]:
    """For each wanted region the bundle's channel: positions among its outputs.

    Args:
        channels: number -> name in the metadata, such as "Tumor core".
        regions: TC, WT, ET.

    Raises:
        TeacherBundleError: a region that no channel, or several, read as.
    """
    found = _match(channels, regions, _region, "region")
    return [found[name] for name in regions]


def match_outputs(channels: Mapping[int, str], names: Sequence[str], what: str) -> list[int]:
    """For each name the bundle's channel of the same name: positions among its outputs.

    Case, spaces and signs do not count, and "tumor" is "tumour". A name that stands for a BraTS region is also found as
    by `match_regions`.

    Args:
        channels: number -> name in the metadata.
        names: of the student's outputs.
        what: they are, for messages: "class" or "region".

    Raises:
        TeacherBundleError: a name that no channel, or several, have.
    """
    plain = {_plain(name): name for name in names}
    regions = {code: name for name in names if (code := _region(name)) is not None}

    def read(words: str) -> str | None:
        return plain.get(_plain(words)) or regions.get(str(_region(words)))

    found = _match(channels, names, read, what)
    return [found[name] for name in names]


def _plain(words: str) -> str:
    return re.sub(r"[^a-z0-9]", "", words.lower()).replace("tumor", "tumour")
