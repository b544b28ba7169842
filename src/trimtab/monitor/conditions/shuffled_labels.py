"""Labels that carry no relation to the rows, as when a column was shuffled or sorted on its own."""

from __future__ import annotations

from collections.abc import Iterable

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions._outcome import BY_HEART, LEAST_LEARNT, learns_nothing_general
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Curve, Finding
from trimtab.monitor.trace import Trace


@CONDITIONS.register("shuffled_labels")
class ShuffledLabels(Condition):
    """The model learns its training rows by heart, and nothing of it helps on other rows."""

    title = "labels without relation to the rows"
    rule = (
        "the accuracy on training rows is 0.15 above that on validation rows (with a certainty of 0.999), while from "
        "then on the mean recall on validation rows is within three standard errors of chance and, with a certainty of "
        "0.975, below 30 % of the way from chance to 1, and no validation loss is surely (0.95) below that of guessing "
        "(`act`)"
    )
    source = "Zhang et al. 2017, arXiv 1611.03530 (networks fit random labels); thresholds: our rule"
    needs = ("held_in", "classes")

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """One finding where rows are learnt by heart and validation stays at chance."""
        found = learns_nothing_general(trace)
        if found is None:
            return
        series = []
        for name, held_in in ((say("accuracy on validation rows"), False), (say("accuracy on training rows"), True)):
            steps, values = trace.evaluated("accuracy", held_in=held_in)
            series.append(Curve(name, steps.tolist(), values.tolist()))
        yield Finding(
            "shuffled_labels",
            "act",
            say(
                "The labels seem to have no relation to the rows: the model has {held_in:.0%} of the training rows "
                "right, learnt by heart, and {accuracy:.0%} of the validation rows; their mean recall is {recall:.2f} "
                "± {error:.2f}, and guessing gives {chance:.2f}.",
                held_in=found.held_in,
                accuracy=found.accuracy,
                recall=found.recall.value,
                error=found.recall.error,
                chance=found.chance,
            ),
            found.step,
            {
                "held_in_accuracy": found.held_in,
                "accuracy": found.accuracy,
                "mean_recall": found.recall.value,
                "standard_error": found.recall.error,
                "chance": found.chance,
                "limits": [BY_HEART, LEAST_LEARNT],
            },
            say(
                "Look whether label column and rows belong together (a column sorted or shuffled on its own, files "
                "joined in another order, the wrong column named with --label)."
            ),
            series=tuple(series),
            # 1 - p that the true mean recall is as high as what would count as having learnt.
            confidence=found.sure,
        )
