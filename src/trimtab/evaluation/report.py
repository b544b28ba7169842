"""The documents of a finished run: report.html, report.md, and the model card.

The page is one file without any outside resource. The model card goes where the model goes, so it holds no row of the
data and no path of this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from trimtab.core.files import disk_error, write_atomic
from trimtab.core.runs import RunDirectory
from trimtab.evaluation.card import front_matter, is_hub_id, model_source
from trimtab.evaluation.diagnosis import diagnosis_view
from trimtab.evaluation.diagnosis_charts import signal_charts
from trimtab.evaluation.effort import effort_sentences
from trimtab.evaluation.history import history_charts, skipped_steps
from trimtab.evaluation.rendering import flatten, render
from trimtab.evaluation.result import EvalResult, Interval
from trimtab.evaluation.trained_map import trained_map
from trimtab.metrics.classification import METRICS
from trimtab.monitor.trace import Trace

MATRIX_LABELS = 30
CONFUSIONS_SHOWN = 15


@dataclass(frozen=True)
class ReportContext:
    """All that the documents of a run are made from.

    Args:
        title: heading, e.g. the name of the run directory.
        task: registered name of the task, e.g. `text-classification`.
        recipe: the resolved recipe, nested or by dotted key.
        origins: dotted recipe key -> where its value comes from (default, inferred, file, flag).
        environment: versions, hardware and the like, nested.
        dataset: `name`, `rows` (split -> number), `labels` (names), `notes` (sentences), `pairs` (whether
            an example is a pair of texts); each may be absent.
        findings: findings of the data report, each with `name`, `severity`, `message` and `remedy`.
        strategy: `name`, `trained` and `parameters` (numbers), and `blocks`, each with `block`, `parameters` and
            `trained`.
        history: events of the run, as `core.events.read_events` yields them.
        result: the evaluation.
        worst: rows predicted wrong with the greatest confidence: `text`, `label`, `prediction`, `probability`, and
            `row` and `source` where known.
        timing: stage -> seconds (a number), or any other fact (a text).
        retention: what the model kept of the pretrained one, as `RetentionResult.to_dict` gives it; empty where it was
            not measured.
        diagnosis: content of `diagnosis.json`; empty where the doctor did not look at the run.
        adapter: folder of the model directory with the adapters without which the model predicts otherwise; None where
            it is whole by itself.
        diagnosis: content of `diagnosis.json`; empty where none was made.
    """

    title: str
    task: str
    recipe: Mapping[str, Any]
    origins: Mapping[str, str]
    environment: Mapping[str, Any]
    dataset: Mapping[str, Any]
    findings: list[dict[str, Any]]
    strategy: Mapping[str, Any]
    history: list[dict[str, Any]]
    result: EvalResult
    worst: list[dict[str, Any]] = field(default_factory=list)
    timing: Mapping[str, Any] = field(default_factory=dict)
    retention: Mapping[str, Any] = field(default_factory=dict)
    adapter: str | None = None
    diagnosis: Mapping[str, Any] = field(default_factory=dict)


def write_reports(run: RunDirectory, context: ReportContext) -> None:
    """Write `report.html`, `report.md` and `model/README.md`, each whole or not at all.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    try:
        run.model.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(run.model, error) from error
    write_atomic(run.path / "report.html", render_html(context))
    write_atomic(run.path / "report.md", render_markdown(context))
    write_atomic(run.model / "README.md", render_card(context))


def render_html(context: ReportContext) -> str:
    """The report as one self-contained page, everything that comes from data escaped."""
    charts = history_charts(context.history, context.result.primary_metric)
    charts += signal_charts(Trace.from_events(context.history))
    return render(
        "report.html.j2",
        **_shared(context),
        charts=[Markup(chart) for chart in charts],
        map=Markup(trained_map(context.strategy.get("tensors", ()))),
        heat=_heat(context),
    )


def render_markdown(context: ReportContext) -> str:
    """The report as Markdown."""
    return render("report.md.j2", **_shared(context))


def render_card(context: ReportContext) -> str:
    """The model card, with YAML front matter as the Hub reads it."""
    name = str(flatten(context.recipe).get("model.name", ""))
    return render(
        "model_card.md.j2",
        **_shared(context),
        front_matter=Markup(front_matter(context.title, context.task, name, context.dataset, context.result)),
        model_source=model_source(name),
        model_is_on_hub=is_hub_id(name),
        weak=sorted((row for row in context.result.per_class if row["rows"]), key=lambda row: row["f1"])[:3],
    )


def _shared(context: ReportContext) -> dict[str, Any]:
    """Variables of every template."""
    result = context.result
    return {
        "run": context,
        "result": result,
        "metric_infos": METRICS,
        "recipe": flatten(context.recipe),
        "environment": flatten(context.environment),
        "confusions": _confusions(result),
        "show_matrix": len(result.labels) <= MATRIX_LABELS,
        "skipped": skipped_steps(context.history),
        "any_step": any(event.get("type") == "step" for event in context.history),
        "kept": _kept(context.retention),
        "probe": next((event for event in context.history if event.get("type") == "probe"), None),
        "stage_length": _stage_length,
        "effort": effort_sentences(context.history),
        "diagnosis": diagnosis_view(context.diagnosis, flatten(context.recipe)),
    }


def _stage_length(stage: Mapping[str, Any]) -> str:
    """How long a stage is, in words."""
    length, unit = stage["length"], stage["unit"]
    if length is None:
        return "to the end"
    if unit == "share":
        return f"{length:.1%} of the run"
    return f"until {length:g} evaluations bring nothing better" if unit == "plateau" else f"{length:g} {unit}"


def _kept(retention: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table of retention: name, meaning, before, after (numbers or None), and what changed (interval)."""
    changes = [
        (
            "pretraining_loss",
            "pretraining loss",
            f"Nats a token ({retention.get('language_kind', '')}); lower is better.",
        ),
        ("pair_spearman", "rank correlation with the pairs' scores", "1 ranks all pairs as the scores do."),
        ("source_loss", "loss on source classes", "Nats an image, with the pretrained classifier; lower is better."),
    ]
    rows: list[dict[str, Any]] = []
    if retention.get("rank_agreement"):
        rows.append(
            {
                "name": "rank agreement with the pretrained model",
                "meaning": "Rank correlation of the two models' similarities of general rows; 1 is unchanged.",
                "before": None,
                "after": Interval.from_dict(retention["rank_agreement"]),
                "difference": None,
            }
        )
    for key, name, meaning in changes:
        change = retention.get(key)
        if change:
            ends = {side: Interval.from_dict(change[side]) for side in ("before", "after", "difference")}
            rows.append({"name": name, "meaning": meaning, **ends})
    return rows


def _confusions(result: EvalResult) -> list[dict[str, Any]]:
    """The most frequent mistakes: label, prediction, rows, and their share of the label's rows."""
    cells: list[dict[str, Any]] = [
        {
            "label": result.labels[row],
            "prediction": result.labels[column],
            "rows": count,
            "share": count / sum(counts),
        }
        for row, counts in enumerate(result.confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(cells, key=lambda cell: -cell["rows"])[:CONFUSIONS_SHOWN]


def _heat(context: ReportContext) -> list[list[float]]:
    """Shade of each cell of the confusion matrix in [0, 1]: its share of the row."""
    return [[round(count / max(1, sum(counts)), 3) for count in counts] for counts in context.result.confusion]
