"""The recipe's section `regularization`."""

from __future__ import annotations

from trimtab.config.section import Section


class RegularizationSection(Section):
    """What keeps the model from fitting its training rows too closely."""
