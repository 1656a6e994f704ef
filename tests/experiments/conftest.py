"""What the tests of the experiments share."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.experiments.interrupted")
