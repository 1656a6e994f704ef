"""What the tests of the bundles share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from monai.utils import set_determinism

pytest.register_assert_rewrite("tests.bundle.broken_off")


@pytest.fixture
def process_as_it_was() -> Iterator[None]:
    """Log handlers and levels, and freedom of chance, as they were before a bundle ran in this process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    set_determinism(None)
