"""Two registries with plugins made for these tests, so that they do not hang on the real ones."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field, model_validator

from trimtab.config.plugins import PluginOptions
from trimtab.core.registry import REGISTRIES, Registry


class NoOptions(PluginOptions):
    pass


class SomeOptions(PluginOptions):
    last_blocks: int | None = Field(None, ge=0, description="Blocks that train.")
    patterns: list[str] = Field(default_factory=list, description="Names | patterns.")
    mode: Literal["soft", "hard"] = Field("soft", description="How.")
    rate: float = Field(0.5, gt=0, description="How much.")

    @model_validator(mode="after")
    def _not_all(self) -> SomeOptions:
        if self.last_blocks == 99:
            raise ValueError("99 blocks is too much of a good thing")
        return self


class TextOptions(PluginOptions):
    max_length: Annotated[int, Field(ge=4)] | Literal["auto"] = Field("auto", description="Tokens.")


class ImageOptions(PluginOptions):
    image_size: int = Field(224, ge=1, description="Pixels.")


def _plugin(summary: str, options: type[PluginOptions]) -> type[Any]:
    class Plugin:
        Options: ClassVar[type[PluginOptions]] = options

    Plugin.__doc__ = summary
    Plugin.__qualname__ = options.__name__
    return Plugin


@pytest.fixture(autouse=True, scope="module")
def plugins() -> Any:
    strategies, tasks = Registry("strategy", "none"), Registry("task", "none")
    strategies._discovered = tasks._discovered = True
    strategies.register("full")(_plugin("Train all.", NoOptions))
    strategies.register("partial")(_plugin("Train some.\n\nMore.", SomeOptions))
    tasks.register("text-classification")(_plugin("Sort texts.", TextOptions))
    tasks.register("image-classification")(_plugin("Sort images.", ImageOptions))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REGISTRIES, "strategy", strategies)
        patch.setitem(REGISTRIES, "task", tasks)
        yield
