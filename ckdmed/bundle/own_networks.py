"""Weights for a part of a network, where a network of one's own stands in its place and does not read them."""

from __future__ import annotations

from monai.bundle import ConfigParser

from ckdmed.bundle.effective_settings import IneffectiveSettingError, reached

__all__ = ["check_own_networks"]

_NETWORKS = ("network_def", "teacher_def", "teacher_ensemble")
# a run reads them for its record as well, so that it reads them even where no network does
_OF_NETWORKS = ("student_encoder_pretrained", "vgg_pretrained", "vit_pretrained", "lite_pretrained", "teacher_bundle")


def check_own_networks(parser: ConfigParser) -> None:
    """Refuse a file that no network is made of, such as ``vit_pretrained`` beside a ``teacher_def`` of one's own.

    Args:
        parser: of the bundle, with all settings.

    Raises:
        IneffectiveSettingError: names each such setting with its file.
    """
    config = parser.get()
    read = reached(config, [name for name in _NETWORKS if name in config])
    given = {name: parser.get_parsed_content(name) for name in _OF_NETWORKS if name in config and name not in read}
    found = [f"--{name} {file}" for name, file in given.items() if file is not None]
    if found:
        own = " and ".join(name for name in _NETWORKS if name in config)
        raise IneffectiveSettingError(
            f"{', '.join(found)}: no network of this run uses it: the definition of {own} does not read it. "
            "Leave it out, or refer to it in the network's definition."
        )
