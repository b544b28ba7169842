"""The machine-readable head of a model card, and the naming of the model that it started from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from trimtab.core.files import jsonable
from trimtab.evaluation.result import EvalResult

STARTER = "starter"
STARTER_ID = "sentence-transformers/all-MiniLM-L6-v2"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def is_hub_id(name: str) -> bool:
    """Whether `name` is the starter or a Hub id, and not a directory here."""
    return name == STARTER or (bool(HUB_ID.fullmatch(name)) and not Path(name).exists())


def model_source(name: str) -> str:
    """How the card names the pretrained model: its Hub id, or the last part of a local path."""
    if name == STARTER:
        return STARTER_ID
    return name if is_hub_id(name) else Path(name).resolve().name


def front_matter(title: str, task: str, model_name: str, dataset: Mapping[str, Any], result: EvalResult) -> str:
    """YAML between two `---` lines, in the fields that the Hugging Face Hub reads.

    Args:
        title: name of the model.
        task: registered name of the task, which is also the Hub's name of the pipeline.
        model_name: the recipe's `model.name`.
        dataset: with `name`.
        result: the metrics; each carries its interval as `args`.
    """
    data_name = _one_line(dataset.get("name", "data"))
    head: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": task,
        "tags": ["trimtab", "fine-tuned", task],
        "metrics": list(result.metrics),
        **({"base_model": model_source(model_name)} if is_hub_id(model_name) else {}),
        "model-index": [
            {
                "name": _one_line(title),
                "results": [
                    {
                        "task": {"type": task},
                        "dataset": {"name": data_name, "type": data_name, "split": result.split},
                        "metrics": [
                            {
                                "type": name,
                                "name": name,
                                "value": _rounded(interval.value),
                                "args": {
                                    "confidence": result.confidence,
                                    "low": _rounded(interval.low),
                                    "high": _rounded(interval.high),
                                },
                            }
                            for name, interval in result.metrics.items()
                        ],
                    }
                ],
            }
        ],
    }
    text = yaml.safe_dump(jsonable(head), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{text}---"


def _one_line(text: Any) -> str:
    """A text without line breaks, which readers of front matter could take for its end."""
    return " ".join(str(text).split())


def _rounded(value: float) -> float:
    return round(float(value), 4)
