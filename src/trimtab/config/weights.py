"""The recipe's section `weights`."""

from __future__ import annotations

from trimtab.config.section import Section


class WeightsSection(Section):
    """Which weights are delivered at the end."""
