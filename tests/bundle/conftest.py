"""What the tests of the bundles share."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.bundle.broken_off")
