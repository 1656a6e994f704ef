"""The names of `ckdmed.data`, which are imported when they are asked for."""

from __future__ import annotations

import pytest

import ckdmed.data


def test_every_name_and_every_module_is_reached():
    assert {getattr(ckdmed.data, name).__name__ for name in ckdmed.data.__all__} == set(ckdmed.data.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        getattr(ckdmed.data, "nothing")
