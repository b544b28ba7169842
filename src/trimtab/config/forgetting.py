"""The recipe's section `forgetting`."""

from __future__ import annotations

from trimtab.config.section import Section


class ForgettingSection(Section):
    """What keeps the model from forgetting what it knew."""
