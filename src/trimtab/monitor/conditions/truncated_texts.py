"""Texts cut by the maximum length."""

from __future__ import annotations

from collections.abc import Iterable

from trimtab.core.registry import CONDITIONS
from trimtab.core.said import say
from trimtab.monitor.conditions.base import Condition
from trimtab.monitor.findings import Finding, Severity
from trimtab.monitor.trace import Trace, number

# Share of the rows that are cut. The data report tells of it from 0.01 and warns from 0.2. Our choice.
ACT_SHARE, WARN_SHARE = 0.50, 0.20


@CONDITIONS.register("truncated_texts")
class TruncatedTexts(Condition):
    """The model reads only the beginning of many texts."""

    title = "texts cut by the maximum length"
    rule = (
        "half of the rows are longer than the model reads, and the recipe's `task.max_length` is what cuts them "
        "(`act`); a fifth of the rows are (`warning`); 1 % (`info`)"
    )
    source = "our rule; the counts are those of the data report"
    needs = ("data",)

    def examine(self, trace: Trace) -> Iterable[Finding]:
        """One finding, from what the data report counted."""
        for told in trace.data_finding("long_texts")[-1:]:
            evidence = told.get("evidence") or {}
            share, limit = number(evidence.get("share")), number(evidence.get("max_length"))
            median, longest = number(evidence.get("median")), number(evidence.get("maximum"))
            if not share > 0 or not limit > 0:
                continue
            option = trace.facts.recipe.get("task.max_length", "auto")
            # Where the option asks for more than is read, the model is the limit.
            by_option = isinstance(option, int) and not isinstance(option, bool) and option <= limit
            severity: Severity = (
                "info" if share < WARN_SHARE else "act" if share >= ACT_SHARE and by_option else "warning"
            )
            yield Finding(
                "truncated_texts",
                severity,
                say(
                    "{share:.0%} of the rows are longer than the {limit:.0f} tokens that are read; the rest of them is "
                    "cut off (median {median:.0f}, longest {longest:.0f} tokens).",
                    share=share,
                    limit=limit,
                    median=median,
                    longest=longest,
                ),
                0,
                {"share": share, "max_length": limit, "median": median, "longest": longest, "by_option": by_option},
                say("Let the model read all that it can: set task.max_length=auto.")
                if by_option
                else say(
                    "Put what decides the label first, shorten the texts, or choose a model that reads more tokens."
                ),
                {"task.max_length": "auto"} if by_option else {},
                # Counted on all rows or a large sample.
                confidence=1.0,
            )
