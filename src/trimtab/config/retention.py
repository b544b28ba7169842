"""The recipe's section `retention`."""

from __future__ import annotations

from pydantic import Field, model_validator

from trimtab.config.section import Section


class RetentionSection(Section):
    """How it is measured what the model gained and what it forgot."""

    measure: bool = Field(
        True,
        description="Compare the delivered model with the pretrained one on rows that have nothing to do with the "
        "task: loss of its own pretraining, similarities of texts or images, drift of each block. Takes seconds.",
    )
    text: str | None = Field(
        None,
        description="File with general texts to measure on: one a line (.txt), or a table with the column `text`. 300 "
        "English and Chinese sentences that come with Trimtab when absent. A text is cut after 128 tokens.",
    )
    pairs: str | None = Field(
        None,
        description="File with pairs of texts and a score of their similarity (columns `sentence1`, `sentence2`, "
        "`score`, or the layout of the STS benchmark): the rank correlation of the model's similarities with them is "
        "told before and after.",
    )
    images: str | None = Field(
        None,
        description="Folder of images, a folder a class, named like classes that the pretrained model knows: its loss "
        "on them is told before and after. Other drift of image models is measured on the validation images.",
    )
    rows: int = Field(
        300,
        ge=8,
        le=20_000,
        description="Most texts, and most pairs of texts, that are measured on; drawn at random when there are more.",
    )
    image_rows: int = Field(
        100, ge=8, le=20_000, description="Most images of each kind that are measured on; drawn at random likewise."
    )

    @model_validator(mode="after")
    def _nothing_without_measuring(self) -> RetentionSection:
        given = [name for name in ("text", "pairs", "images") if getattr(self, name) is not None]
        if given and not self.measure:
            raise ValueError(f"{' and '.join(given)} would do nothing while measure is false")
        return self
