"""The recipe's section `retention`."""

from __future__ import annotations

from trimtab.config.section import Section


class RetentionSection(Section):
    """How it is measured what the model gained and what it forgot."""
