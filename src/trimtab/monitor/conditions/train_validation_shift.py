"""Train and validation differ: in their labels, in their texts or images, or in what the model makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import Said, restored, say, together
from trimtab.monitor.conditions._fit import evaluation_losses
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace, number

# Total variation of the label shares. The data report tells of it from 0.1, where chance seldom gives as much; at 0.3
# a metric chooses other weights. Our choice.
ACT_LABELS = 0.30
# Area under the ROC curve of telling the two apart (0.5 is guessing). Official test splits of two known sets reach 0.78
# and 0.88 and do little harm, hence `act` needs the loss to agree. Our choice.
WARN_AREA = 0.80
# Validation loss above that on training rows at the first evaluation, as a share of the loss of guessing, and how sure
# of it one must be. Our choice.
GAP, SURE = 0.30, 0.99
# Passes over the data within which training rows are not yet learnt by heart.
EARLY = 1.05
GUESSING = 0.6931


@CONDITIONS.register("train_validation_shift")
class TrainValidationShift(Condition):
    """Validation does not measure what training teaches."""

    title = "shift between train and validation"
    rule = (
        "the data report found other label shares on validation (`warning`; `act` from a total variation of 0.30) or "
        "on test (`info`: nothing is chosen by it), or other inputs (`warning` from an area under the ROC curve of "
        "0.80 on validation, else `info`); or, within the first epoch, the validation loss is above the loss on "
        "training rows by 30 % of the loss of guessing, with a certainty of 0.99 (`warning`; `act` with a shift of the "
        "inputs)"
    )
    source = "Lopez-Paz & Oquab 2017, arXiv 1610.06545 (two-sample test by a classifier); thresholds: our rule"
    needs = ("shift",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """A finding for labels, inputs and loss each."""
        for told in trace.data_finding("label_shift"):
            yield from _labels(told)
        gap = _gap(trace)
        inputs = [told for told in trace.data_finding("covariate_shift") if number(_of(told).get("area")) > 0]
        for told in inputs:
            yield _inputs(told, gap)
        seen = any(_of(told).get("split") == "validation" for told in inputs)
        if gap is not None and not seen:
            yield gap


def _of(told: Mapping[str, Any]) -> Mapping[str, Any]:
    return told.get("evidence") or {}


def _labels(told: Mapping[str, Any]) -> Iterable[Finding]:
    evidence = _of(told)
    distance, split = number(evidence.get("total_variation")), str(evidence.get("split", "validation"))
    if not distance > 0:
        return
    yield Finding(
        "train_validation_shift",
        "info" if split != "validation" else "act" if distance >= ACT_LABELS else "warning",
        say(
            "The labels of {split} are distributed otherwise than those of train: {share:.0%} of the rows would have "
            "to change their label for the shares to be equal.",
            split=split,
            share=distance,
        ),
        0,
        {"kind": "labels", "split": split, "total_variation": distance},
        _make_sure_of(split),
        # The data report tells of it where chance gives as much in 1 % of random splits.
        confidence=0.99,
    )


def _inputs(told: Mapping[str, Any], gap: Finding | None) -> Finding:
    evidence = _of(told)
    split, area, error = (evidence.get("split", "validation"), number(evidence.get("area")), evidence.get("error"))
    of_validation = split == "validation"
    agrees = of_validation and gap is not None
    grave = "warning" if of_validation and area >= WARN_AREA else "info"
    message = restored(told.get("message", ""), (told.get("said") or {}).get("message"))
    return Finding(
        "train_validation_shift",
        "act" if agrees else "warning" if grave == "warning" else "info",
        together(message, gap.message if agrees and gap is not None else ""),
        0,
        {"kind": "inputs", "split": split, "area": area, "error": error, "typical": list(evidence.get("typical") or ())}
        | (dict(gap.evidence) if agrees and gap is not None else {}),
        _make_sure_of(split),
        series=gap.series if agrees and gap is not None else (),
        # Three standard errors at the least, by the rule of the data report.
        confidence=0.99,
    )


def _make_sure_of(split: str) -> Said:
    return say(
        "Make sure that {split} is what the model will meet in use; if it is, add training rows of that kind, else "
        "draw {split} from the same rows as train.",
        split=split,
    )


def _gap(trace: Trace) -> Finding | None:
    """The validation loss far above that on training rows when these are not yet learnt by heart."""
    losses = evaluation_losses(trace)
    if not len(losses) or not losses.like_with_like or trace.evaluations[losses.index[0]].epoch > EARLY:
        return None
    gap, guessing = losses.gap(0), trace.facts.chance or GUESSING
    sure = gap.above(GAP * guessing)
    if sure < SURE:
        return None
    step = int(losses.steps[0])
    return Finding(
        "train_validation_shift",
        "warning",
        say(
            "At step {step}, in the first epoch, the validation loss ({validation:.3g}) was already {gap:.2g} ± "
            "{error:.2g} above the loss on training rows ({fitted:.3g}).",
            step=step,
            validation=losses.validation[0],
            gap=gap.value,
            error=gap.error,
            fitted=losses.fitted[0],
        ),
        step,
        {"kind": "loss", "gap": gap.value, "standard_error": gap.error, "guessing": guessing, "limit": GAP * guessing},
        say(
            "Look whether the validation rows come from where the training rows come from, and whether their labels "
            "mean the same."
        ),
        series=(
            Curve(say("validation loss"), losses.steps.tolist(), losses.validation.tolist()),
            Curve(say("loss on training rows"), losses.steps.tolist(), losses.fitted.tolist()),
        ),
        # 1 - p that the gap is no larger than the limit.
        confidence=sure,
    )
