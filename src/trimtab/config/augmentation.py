"""The recipe's section `augmentation`."""

from __future__ import annotations

from trimtab.config.section import Section


class AugmentationSection(Section):
    """Changed copies of training rows, made anew in each epoch; never seen by validation or test."""
