"""The whole measurement, from the pretrained model at its source to the comparison with the fine-tuned one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from trimtab.config.recipe import EvaluationSection, ModelSection
from trimtab.core.errors import ModelError
from trimtab.evaluation.retention.kept import keep_state, read_state, state_key
from trimtab.evaluation.retention.material import RetentionMaterial
from trimtab.evaluation.retention.probe import RetentionProbe, build_probe
from trimtab.evaluation.retention.result import RetentionResult, compare, summarise
from trimtab.evaluation.retention.state import RetentionState
from trimtab.models.configs import load_config
from trimtab.models.hub import local_directory
from trimtab.models.loading import LoadedModel, load_model
from trimtab.models.processors import load_processor, max_length_of
from trimtab.models.representations import unwrapped

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from trimtab.core.cache import DiskCache
    from trimtab.models.sources import ModelSource
    from trimtab.tasks.base import Examples, Task


def measure_retention(
    model: PreTrainedModel,
    material: RetentionMaterial,
    source: ModelSource,
    task: Task,
    section: ModelSection,
    evaluation: EvaluationSection,
    *,
    images: Examples | None = None,
    max_length: int | None = None,
    cache: DiskCache | None = None,
) -> RetentionResult:
    """What `model` kept of the pretrained model at `source`, which is read again for it unless the cache knows it.

    Nothing of it needs to be kept while training, so that a resumed run measures the same. Global random streams are
    left as they were. Where the pretrained model cannot be read any more, the result says so and holds no numbers.

    Args:
        model: the delivered model, on its device; it is put into evaluation mode.
        material: from `read_material`.
        source: the pretrained model.
        task: the run's task.
        section: the recipe's `model` section.
        evaluation: the recipe's `evaluation` section, for level and number of resamples.
        images: the validation rows of an image task; None for texts.
        max_length: most tokens of a text that the delivered model reads; all that the pretrained one reads when None.
        cache: keeps what was noted of the pretrained model for later runs; None keeps nothing.
    """
    device = next(model.parameters()).device
    try:
        key = None
        if cache is not None:
            key = state_key(material, source, task, section, images=images, max_length=max_length, device=device.type)
        before = read_state(cache, key)
        if before is None:
            original, probe = retention_probe(material, source, task, section, images=images, max_length=max_length)
            before = retention_before(probe, original, device)
            del original
            keep_state(cache, key, before)
        else:
            probe = _probe_alone(material, source, task, section, images, max_length)
        return retention_after(probe, before, model, evaluation)
    except ModelError as error:
        note = f"Retention could not be measured: {error.message}"
        empty = RetentionResult(evaluation.confidence, notes=(note,))
        return RetentionResult(evaluation.confidence, notes=(note,), summary=summarise(empty))


def retention_probe(
    material: RetentionMaterial,
    source: ModelSource,
    task: Task,
    section: ModelSection,
    *,
    images: Examples | None = None,
    max_length: int | None = None,
) -> tuple[LoadedModel, RetentionProbe]:
    """The pretrained model with a head for the task, and the probe to hold it against.

    Args: as for `measure_retention`.

    Raises:
        ModelError: the pretrained model cannot be read.
    """
    trust = section.trust_remote_code
    with _own_randomness(material.seed):
        original = load_model(
            source,
            auto_class=task.auto_class,
            labels=task.labels,
            section=section.model_copy(update={"dropout": None}),
            modality=task.modality,
        )
        probe = _probe(material, source, task, trust, original.processor, original.model.config, images, max_length)
    return original, probe


def _probe_alone(
    material: RetentionMaterial,
    source: ModelSource,
    task: Task,
    section: ModelSection,
    images: Examples | None,
    max_length: int | None,
) -> RetentionProbe:
    """The probe, without the pretrained model."""
    trust = section.trust_remote_code
    directory = local_directory(source, weights=False, trust_remote_code=trust)
    config = load_config(source, directory, trust_remote_code=trust)
    processor = load_processor(source, task.modality, trust_remote_code=trust)
    with _own_randomness(material.seed):
        return _probe(material, source, task, trust, processor, config, images, max_length)


def _probe(
    material: RetentionMaterial,
    source: ModelSource,
    task: Task,
    trust: bool,
    processor: Any,
    config: PreTrainedConfig,
    images: Examples | None,
    max_length: int | None,
) -> RetentionProbe:
    longest = max_length_of(processor, config) if task.modality == "text" else 0
    if max_length is not None:
        longest = min(longest, max_length)
    return build_probe(material, source, processor, max_length=longest, images=images, trust_remote_code=trust)


def retention_before(probe: RetentionProbe, original: LoadedModel, device: torch.device) -> RetentionState:
    """The state of the pretrained model, computed on `device`."""
    torch.nn.Module.to(original.model, device)
    return probe.state(original.model)


def retention_after(
    probe: RetentionProbe, before: RetentionState, model: PreTrainedModel, evaluation: EvaluationSection
) -> RetentionResult:
    """The state of the delivered model, and its comparison with the pretrained one's.

    Raises:
        ModelError: the models are of different architectures.
    """
    notes = probe.notes
    if probe.language is not None and unwrapped(model) is not model:
        notes = (*notes, "The pretraining loss is that of the model without the virtual tokens of its adapter.")
    return compare(
        before,
        probe.state(model),
        scores=probe.scores,
        confidence=evaluation.confidence,
        samples=evaluation.bootstrap_samples,
        seed=probe.seed,
        notes=notes,
    )


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Heads that are missing draw from torch's global streams; those of the run stay as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
