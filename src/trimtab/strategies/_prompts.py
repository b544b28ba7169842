"""What the strategies share that train virtual tokens before those of the text, in a frozen model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from trimtab.config.plugins import PluginOptions
from trimtab.core.errors import RecipeError
from trimtab.strategies import _peft
from trimtab.strategies.base import ParameterGroup, Strategy, TrainingPlan

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trimtab.models.blocks import Blocks

PROMPT = "prompt_encoder"
PREFIX = "base_model."
INSTEAD = "Use --strategy lora, ia3 or bitfit, which leave the model's inputs as they are."


class PromptOptions(PluginOptions):
    """Options of every strategy that trains virtual tokens."""

    num_virtual_tokens: int = Field(
        20, ge=1, description="Number of virtual tokens before each text; they take up room of `task.max_length`."
    )
    head_factor: float = Field(
        1.0, gt=0, description="Learning rate of the head, as a multiple of the virtual tokens' learning rate."
    )


class PromptStrategy(Strategy):
    """Virtual tokens and the head train; the model itself is frozen.

    The model is wrapped by `peft`: names of its parameters begin with `base_model.`. Nothing can be merged, so that the
    adapter is delivered beside the base model. A subclass gives the configuration, and refuses what it cannot serve.
    """

    unsupported: ClassVar[frozenset[str]]
    """Architectures, of those known by name, that cannot take virtual tokens."""

    def __init__(self, options: PluginOptions) -> None:
        super().__init__(options)
        self._head: tuple[str, ...] = ()

    @property
    def extra_tokens(self) -> int:
        """Positions of the model that the virtual tokens take from the text."""
        return cast(PromptOptions, self.options).num_virtual_tokens

    @abstractmethod
    def config(self, model: nn.Module) -> Any:
        """The configuration of `peft` for this model."""

    @abstractmethod
    def refuse(self, model: nn.Module, blocks: Blocks) -> None:
        """Raise a RecipeError where the model cannot take virtual tokens of this kind."""

    def adapt(self, model: nn.Module, blocks: Blocks) -> tuple[nn.Module, Blocks]:
        """Wrap the model; the virtual tokens stand among the embeddings of the depth map.

        Raises:
            RecipeError: the architecture cannot take virtual tokens, has no room for them, or has adapters already.
            MissingDependencyError: `peft` is not installed.
        """
        _peft.refuse_adapted(model)
        if getattr(model, "main_input_name", "") != "input_ids" or not hasattr(model, "get_input_embeddings"):
            raise RecipeError(
                f"{self.name} puts virtual tokens before a text, and {blocks.architecture} reads no text.",
                remedy="Use --strategy lora, bitfit or partial.",
            )
        self.refuse(model, blocks)
        self._refuse_lack_of_room(model, blocks)
        self._head = _peft.head_modules(model, blocks)
        with _peft.quiet():
            wrapped: nn.Module = _peft.peft().PeftModelForSequenceClassification(model, self.config(model))
        _unwrap_head(model)
        return wrapped, _peft.follow_blocks(wrapped, blocks, PREFIX, {PROMPT: blocks.embeddings.name})

    def plan(
        self, blocks: Blocks, learning_rate: float, scores: Mapping[str, torch.Tensor] | None = None
    ) -> TrainingPlan:
        """Groups `adapters` (the virtual tokens) and `head`.

        Raises:
            ValueError: `adapt` was not called before.
        """
        if not self._head:
            raise ValueError("adapt was not called before")
        tokens = tuple(name for name in blocks.embeddings.parameters if name.startswith(f"{PROMPT}."))
        factor = cast(PromptOptions, self.options).head_factor
        trained, head = (sum(blocks.sizes[name] for name in names) for names in (tokens, blocks.head.parameters))
        return TrainingPlan(
            groups=(
                ParameterGroup("adapters", tokens, learning_rate),
                ParameterGroup("head", blocks.head.parameters, factor * learning_rate),
            ),
            notes=(
                f"{self.extra_tokens} virtual tokens with {trained:,} parameters train, and the head with {head:,}.",
                "They cannot be merged into the model: it is delivered as an adapter beside the base model.",
            ),
        )

    def merged(self, model: nn.Module) -> nn.Module | None:
        """None: virtual tokens are no weights of the model."""
        return None

    def save_adapter(self, model: nn.Module, folder: Path) -> None:
        """Write a folder that `peft.PeftModel.from_pretrained(base model, folder)` loads, the head included.

        Raises:
            OSError: the folder cannot be written.
        """
        wrapped: Any = model
        _peft.write_adapter(
            folder,
            model=wrapped.base_model,
            config=wrapped.peft_config[_peft.ADAPTER],
            head=self._head,
            adapter={"prompt_embeddings": wrapped.get_prompt_embedding_to_save(_peft.ADAPTER)},
            prefix=PREFIX,
        )

    def _refuse_lack_of_room(self, model: nn.Module, blocks: Blocks) -> None:
        config = getattr(model, "config", None)
        positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
        if positions and self.extra_tokens >= positions:
            raise RecipeError(
                f"strategy.num_virtual_tokens: {self.extra_tokens} asked for, but {blocks.architecture} has "
                f"{positions} positions, for the text as well.",
                remedy="Give a smaller number, such as 20.",
            )


def _unwrap_head(model: nn.Module) -> None:
    """Take out what `peft` put around the head, a copy beside the original: the head trains itself, as in all plans."""
    wrapper_class = _peft.require("peft.utils", extra="peft", purpose="train adapters").ModulesToSaveWrapper
    for name, module in list(model.named_modules()):
        if isinstance(module, wrapper_class):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.original_module)
