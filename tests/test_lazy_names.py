from __future__ import annotations

import pytest

from ckdmed.lazy_names import lazy_names


def test_a_name_is_never_that_of_its_module():
    with pytest.raises(ValueError, match="p offers thing of a module of the same name; rename the module"):
        lazy_names("p", {"thing": ("thing", "other")})
