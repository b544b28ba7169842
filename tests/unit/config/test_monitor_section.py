"""The recipe's section on the doctor."""

from __future__ import annotations

import pytest

from trimtab.config.load import build_recipe
from trimtab.core.errors import RecipeError


def test_a_sample_without_signals_is_refused() -> None:
    assert build_recipe(overrides={"monitor.signals": False}).recipe.monitor.sample_rows == "auto"
    with pytest.raises(RecipeError, match="sample_rows would do nothing while signals is false"):
        build_recipe(overrides={"monitor.signals": False, "monitor.sample_rows": 100})
