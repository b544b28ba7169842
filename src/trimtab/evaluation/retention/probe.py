"""A probe: the rows and heads that one model after another is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch

from trimtab.core.errors import ModelError
from trimtab.core.seeds import stream_seed
from trimtab.data.batching import cut_by_budget
from trimtab.evaluation.retention.material import RetentionMaterial, sample
from trimtab.evaluation.retention.state import ClassLosses, RetentionState, TextLosses
from trimtab.metrics.similarity import cosines, paired_cosines
from trimtab.models.language_heads import (
    LanguageModel,
    causal_labels,
    load_language_model,
    mask_tokens,
    share_backbone,
    token_losses,
)
from trimtab.models.quiet import quiet_transformers, reason_of
from trimtab.models.representations import TOKEN_BUDGET, represent, unwrapped
from trimtab.tasks.base import Examples, TaskContext
from trimtab.tasks.image_classification import ImageClassification, ImageClassificationOptions
from trimtab.tasks.text_classification import TextClassification, TextClassificationOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from trimtab.models.sources import ModelSource

MAX_TOKENS = 128
"""Tokens after which a text is cut: enough for a few sentences, and the cost stays small."""
AGREEMENT_ROWS = 1000
"""Most rows of which every two are compared; their number of pairs is its square."""


@dataclass(frozen=True)
class RetentionProbe:
    """Rows and heads, the same for the pretrained and the fine-tuned model.

    Args:
        examples: the general texts, or the validation images.
        rows: the rows of `examples` that are measured on, `[rows]`.
        pairs: both sides of the scored pairs, encoded.
        scores: similarity of each pair, `[pairs]`.
        language: the pretrained model's language-model head; None where it has none.
        num_tokens: rows of the pretrained model's embedding table.
        tokenizer: the pretrained model's own, so that a word means the same tokens to both.
        source_model: the pretrained image model with its own classes.
        source_examples: images of these classes.
        source_classes: class id of each, `[images]`.
        seed: the run's seed.
        notes: what cannot be measured and why, one sentence each.
    """

    examples: Examples
    rows: np.ndarray
    seed: int
    pairs: tuple[Examples, Examples] | None = None
    scores: np.ndarray | None = None
    language: LanguageModel | None = None
    num_tokens: int | None = None
    tokenizer: Any = None
    source_model: PreTrainedModel | None = None
    source_examples: Examples | None = None
    source_classes: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def state(self, model: PreTrainedModel) -> RetentionState:
        """Note what `model` makes of the rows. It is put into evaluation mode, and its weights are not changed.

        Args:
            model: a classifier of the architecture of the pretrained model; its vocabulary may have grown. With
                virtual tokens before the text, its losses are those of the model without them.

        Raises:
            ModelError: the model is of another architecture.
        """
        found = represent(model, self.examples, self.rows)
        plain = cast("PreTrainedModel", unwrapped(model))
        pairs = None
        if self.pairs is not None:
            sides = [represent(model, side, np.arange(len(side))).output for side in self.pairs]
            pairs = paired_cosines(*sides)
        return RetentionState(
            blocks=found.blocks,
            similarities=cosines(found.output[:AGREEMENT_ROWS]),
            language=self._language(plain),
            pairs=pairs,
            source=self._source(plain),
        )

    @torch.inference_mode()
    def _language(self, model: PreTrainedModel) -> TextLosses | None:
        """The pretraining loss of each text, with the same masks for every model."""
        if self.language is None:
            return None
        shared = share_backbone(self.language, model)
        shared.model.eval()
        sums = np.zeros(len(self.examples))
        tokens = np.zeros(len(self.examples), dtype=np.int64)
        generator = torch.Generator().manual_seed(stream_seed(self.seed, "retention", "masks"))
        for piece in cut_by_budget(self.rows, self.examples.lengths, TOKEN_BUDGET):
            inputs = self.examples.collate(piece).inputs
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            if shared.kind == "masked":
                special = (mask == 0) | torch.isin(ids, torch.tensor(self.tokenizer.all_special_ids))
                inputs["input_ids"], labels = mask_tokens(ids, special, self.tokenizer, generator)
            else:
                labels = causal_labels(ids, mask)
            inputs = {name: tensor.to(_device(model)) for name, tensor in inputs.items()}
            # Among the tokens that both models know: new ones of the fine-tuned model would take their share.
            losses, rows = token_losses(
                shared.model, shared.kind, inputs, labels.to(_device(model)), num_tokens=self.num_tokens
            )
            places = piece[rows.cpu().numpy()]
            np.add.at(sums, places, losses.double().cpu().numpy())
            np.add.at(tokens, places, 1)
        return TextLosses(shared.kind, sums[self.rows], tokens[self.rows])

    @torch.inference_mode()
    def _source(self, model: PreTrainedModel) -> ClassLosses | None:
        """Loss on the source classes, with the pretrained model's own classifier on the model's backbone."""
        if self.source_model is None or self.source_examples is None or self.source_classes is None:
            return None
        prefix = self.source_model.base_model_prefix
        setattr(self.source_model, prefix, getattr(model, prefix))
        device = _device(model)
        whole = self.source_model.eval()
        torch.nn.Module.to(whole, device)
        losses = np.zeros(len(self.source_classes))
        right = np.zeros(len(self.source_classes), dtype=bool)
        for piece in cut_by_budget(np.arange(len(losses)), self.source_examples.lengths, TOKEN_BUDGET):
            logits = whole(**self.source_examples.collate(piece).to(device).inputs).logits.float()
            goal = torch.from_numpy(self.source_classes[piece]).to(device)
            losses[piece] = torch.nn.functional.cross_entropy(logits, goal, reduction="none").cpu().numpy()
            right[piece] = (logits.argmax(dim=-1) == goal).cpu().numpy()
        return ClassLosses(losses, right)


def build_probe(
    material: RetentionMaterial,
    source: ModelSource,
    processor: Any,
    *,
    max_length: int = 0,
    images: Examples | None = None,
    trust_remote_code: bool = False,
) -> RetentionProbe:
    """Encode the rows and read the pretrained model's heads.

    Args:
        material: from `read_material`.
        source: the pretrained model.
        processor: its own tokenizer or image processor, not one with a grown vocabulary.
        max_length: tokens that the model reads.
        images: the validation rows of an image task, which stand for general images; None for texts.
        trust_remote_code: run Python code that comes with the model.

    Raises:
        ModelError: the pretrained model cannot be read.
    """
    if images is not None:
        return _image_probe(material, source, processor, images, trust_remote_code)
    context = TaskContext(processor, min(max_length, MAX_TOKENS))
    pairs = material.pairs
    language, notes = _language_head(source, processor, trust_remote_code)
    return RetentionProbe(
        examples=_encode(material.texts, context),
        rows=np.arange(len(material.texts)),
        seed=material.seed,
        pairs=None if pairs is None else (_encode(pairs.first, context), _encode(pairs.second, context)),
        scores=None if pairs is None else pairs.scores,
        language=language,
        num_tokens=None if language is None else language.model.config.vocab_size,
        tokenizer=processor,
        notes=(*material.notes, *notes),
    )


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device


def _encode(texts: list[str], context: TaskContext) -> Examples:
    """Encode texts for padding on the right, where it changes nothing for decoders either."""
    task = TextClassification(TextClassificationOptions(max_length=context.max_length), ())
    examples = task.encode(pd.DataFrame({"text": texts}), context)
    examples.pad_left = False
    return examples


def _language_head(
    source: ModelSource, tokenizer: Any, trust_remote_code: bool
) -> tuple[LanguageModel | None, tuple[str, ...]]:
    language = load_language_model(source, trust_remote_code=trust_remote_code)
    if language is None:
        return None, ("The pretrained model has no language-model head, so there is no pretraining loss.",)
    if language.kind == "masked" and tokenizer.mask_token_id is None:
        return None, ("The tokenizer has no mask token, so there is no masked language-model loss.",)
    return language, ()


def _image_probe(
    material: RetentionMaterial, source: ModelSource, processor: Any, images: Examples, trust_remote_code: bool
) -> RetentionProbe:
    rows = np.array(sample(list(range(len(images))), material.rows, material.seed, "rows"), dtype=np.int64)
    if material.images is None:
        return RetentionProbe(images, rows, material.seed, notes=material.notes)
    model = _source_classifier(source, trust_remote_code)
    if model is None:
        note = "The checkpoint has no classifier for its own classes, so there is no loss on retention.images."
        return RetentionProbe(images, rows, material.seed, notes=(*material.notes, note))
    task = ImageClassification(ImageClassificationOptions(), ())
    return RetentionProbe(
        images,
        rows,
        material.seed,
        source_model=model,
        source_examples=task.encode(pd.DataFrame({"image": material.images.paths}), TaskContext(processor)),
        source_classes=material.images.classes,
        notes=material.notes,
    )


def _source_classifier(source: ModelSource, trust_remote_code: bool) -> PreTrainedModel | None:
    """The image model with the classifier it was saved with; None where a part of it is missing."""
    from transformers import AutoModelForImageClassification

    from trimtab.models.hub import local_directory

    directory = local_directory(source, trust_remote_code=trust_remote_code)
    try:
        with quiet_transformers():
            model, info = AutoModelForImageClassification.from_pretrained(
                directory, dtype=torch.float32, output_loading_info=True, trust_remote_code=trust_remote_code
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"The model {source.name!r} in {directory} cannot be loaded with its own classes: {reason_of(error)}.",
            remedy="Remove retention.images from the recipe, or download the model again.",
        ) from error
    return None if info["missing_keys"] or info["mismatched_keys"] else model
