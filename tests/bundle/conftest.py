"""What the tests of the bundles share."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.bundle.broken_off")


@pytest.fixture(autouse=True)
def _pictures(request: pytest.FixtureRequest) -> None:
    """Pictures are rendered where a test is marked so."""
    if "rendered" not in request.keywords:
        request.getfixturevalue("pictures_not_rendered")
