"""A browser for the pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.run_pages.browser import Browser, chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = chromium()
    if program is None:
        pytest.skip("no Chromium here")
    with Browser(program) as opened:
        yield opened
