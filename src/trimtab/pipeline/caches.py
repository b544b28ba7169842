"""Where results of a recipe's runs are kept for later ones."""

from __future__ import annotations

from trimtab.config.recipe import Recipe
from trimtab.core.cache import DiskCache, open_cache


def results_cache(recipe: Recipe, kind: str) -> DiskCache | None:
    """The cache for results of a kind (`tokens`, `baselines`, …); None where the recipe wants no cache."""
    section = recipe.cache
    return open_cache(kind, enabled=section.enabled, folder=section.folder, mib=section.disk_mib)
