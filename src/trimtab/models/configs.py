"""A pretrained model's configuration: reading it, asking what the model can do, and setting labels and dropout."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import ModelError
from trimtab.models.quiet import quiet_transformers, reason_of
from trimtab.models.sources import CONFIG_FILE, ModelSource

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_TASK_OF = {
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForImageClassification": "image-classification",
}
# Asked in this order: what an architecture is called when it cannot do the task.
_KINDS = {
    "AutoModelForImageClassification": "an image model",
    "AutoModelForSequenceClassification": "a text model",
    "AutoModelForAudioClassification": "an audio model",
    "AutoModelForSpeechSeq2Seq": "a speech model",
    "AutoModelForObjectDetection": "an object detection model",
    "AutoModelForCausalLM": "a text generation model",
    "AutoModelForSeq2SeqLM": "a text-to-text model",
    "AutoModelForMaskedLM": "a masked language model",
}
_DROPOUT_FIELD = re.compile(r"dropout|pdrop")


def load_config(source: ModelSource, directory: Path, *, trust_remote_code: bool) -> PreTrainedConfig:
    """Read the configuration in `directory`.

    Raises:
        ModelError: it is missing, no JSON, of an architecture that transformers does not know, or needs code that
            comes with the model.
    """
    from transformers import AutoConfig

    raw = _read_raw(directory / CONFIG_FILE)
    if "auto_map" in raw and not trust_remote_code and not _is_known_type(raw):
        raise ModelError(
            f"The model {source.name!r} comes with Python code of its own, which is not run unless you ask for it.",
            remedy="If you trust its source: --set model.trust_remote_code=true",
        )
    if not _is_known_type(raw) and not trust_remote_code:
        found = f"the architecture {raw['model_type']!r}" if "model_type" in raw else "no model_type"
        raise ModelError(
            f"{directory / CONFIG_FILE} names {found}, which the installed transformers cannot build.",
            remedy="Choose another model with --model, or update transformers if the model is newer than it.",
        )
    try:
        with quiet_transformers():
            return AutoConfig.from_pretrained(directory, trust_remote_code=trust_remote_code)
    except Exception as error:
        # A configuration class checks its fields as it likes, with exceptions of its own.
        raise ModelError(
            f"The configuration {directory / CONFIG_FILE} cannot be used: {reason_of(error)}.",
            remedy="Download or copy the model again, or choose another one with --model.",
        ) from error


def check_task(source: ModelSource, config: PreTrainedConfig, auto_class: str) -> None:
    """Refuse a model whose architecture has no head for the task, before its weights are touched.

    Raises:
        ModelError: the architecture cannot do the task, or its weights are quantised and cannot be trained.
    """
    remote = getattr(config, "auto_map", None) or {}
    if not _has_head(config, auto_class) and auto_class not in remote:
        kind = next((text for name, text in _KINDS.items() if _has_head(config, name)), "a model without such a head")
        task = _TASK_OF.get(auto_class, auto_class)
        raise ModelError(
            f"The model {source.name!r} is {kind} ({config.model_type}), which cannot do {task}.",
            remedy=f"Choose a model for {task} with --model, or another task with --task.",
        )
    if getattr(config, "quantization_config", None):
        raise ModelError(
            f"The weights of the model {source.name!r} are quantised, and quantised weights cannot be trained.",
            remedy="Choose the unquantised model with --model.",
        )


def set_labels(config: PreTrainedConfig, labels: tuple[str, ...]) -> bool:
    """Put the label names in the configuration, for one label a row.

    Returns:
        Whether the configuration named exactly these labels already, so that its classifier can be kept.
    """
    wanted = dict(enumerate(labels))
    known = {int(index): str(label) for index, label in (config.id2label or {}).items()} == wanted
    config.id2label = dict(wanted)
    config.label2id = {label: index for index, label in wanted.items()}
    config.problem_type = "single_label_classification"
    return known


def set_config_dropout(config: PreTrainedConfig, probability: float) -> list[str]:
    """Set every dropout field, those of nested configurations too, so that fused attention uses it as well.

    Stochastic depth (`drop_path_rate`, `layerdrop`) is no dropout, and stays.

    Returns:
        Names of the fields that were set.
    """
    changed: list[str] = []
    for name, value in list(vars(config).items()):
        if hasattr(value, "to_diff_dict"):
            changed.extend(f"{name}.{field}" for field in set_config_dropout(value, probability))
        elif _DROPOUT_FIELD.search(name) and not isinstance(value, bool) and isinstance(value, int | float | None):
            setattr(config, name, probability)
            changed.append(name)
    return changed


def set_module_dropout(source: ModelSource, model: PreTrainedModel, probability: float, fields: list[str]) -> None:
    """Set every dropout module; `fields` are the configuration's fields that were set before the model was built.

    Raises:
        ModelError: the model has no dropout at all, so that the recipe's value would do nothing.
    """
    from torch.nn.modules.dropout import _DropoutNd

    layers = [module for module in model.modules() if isinstance(module, _DropoutNd)]
    for layer in layers:
        layer.p = probability
    if not layers and not fields:
        raise ModelError(
            f"The model {source.name!r} ({model.config.model_type}) has no dropout, so model.dropout={probability} "
            "would do nothing.",
            remedy="Remove model.dropout from the recipe.",
        )


def _read_raw(file: Path) -> dict[str, Any]:
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = sorted(entry.name for entry in file.parent.iterdir())[:8]
        raise ModelError(
            f"The model in {file.parent} has no {CONFIG_FILE} (found: {', '.join(found) or 'nothing'}).",
            remedy="Choose a model in the layout of transformers with --model.",
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The configuration {file} cannot be read: {reason_of(error)}.",
            remedy="Download or copy the model again.",
        ) from error
    if not isinstance(raw, dict):
        raise ModelError(f"The configuration {file} is no JSON object.", remedy="Download or copy the model again.")
    return raw


def _is_known_type(raw: dict[str, Any]) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return raw.get("model_type") in CONFIG_MAPPING


def _has_head(config: PreTrainedConfig, auto_class: str) -> bool:
    import transformers

    return type(config) in getattr(transformers, auto_class)._model_mapping
