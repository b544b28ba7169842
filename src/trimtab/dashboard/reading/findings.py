"""Findings as the page takes them: the newest state of each, from the events and from the diagnosis at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.dashboard.reading.plain import finite, items, mapping, plain, text, whole

SEVERITIES = ("info", "warning", "act")
MOST_FINDINGS = 500
"""Of one run; there are some thirty conditions."""

Finding = dict[str, Any]


def finding_of(event: Mapping[Any, Any]) -> Finding:
    """A finding from an event or an entry of `diagnosis.json`, every field there; `index` is for the caller to set."""
    severity = event.get("severity")
    return {
        "name": text(event.get("name"), "unknown"),
        # Of the data report, `refuse` is graver than all.
        "severity": severity if severity in SEVERITIES else ("act" if severity == "refuse" else "info"),
        "message": text(event.get("message")),
        "since": whole(event.get("since")),
        "evidence": plain(mapping(event.get("evidence"))),
        "remedy": text(event.get("remedy")),
        "change": plain(mapping(event.get("change"))),
        "confidence": finite(event.get("confidence")),
        "source": text(event.get("source")),
        "series": [curve for value in items(event.get("series")) if (curve := _curve(value)) is not None],
        "x_label": text(event.get("x_label"), "step"),
        "rows": [plain(row) for row in items(event.get("rows")) if isinstance(row, dict)],
        "by": text(event.get("by"), "doctor"),
        "said": plain(mapping(event.get("said"))),
    }


def _curve(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return None
    steps, values = items(value.get("steps", value.get("x"))), items(value.get("values", value.get("y")))
    count = min(len(steps), len(values))
    return {
        "name": text(value.get("name")),
        "x": [finite(step) for step in steps[:count]],
        "y": [finite(found) for found in values[:count]],
    }


def counts_of(findings: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many there are of each severity."""
    counted = Counter(finding["severity"] for finding in findings)
    return {severity: counted[severity] for severity in SEVERITIES}


def worst_of(findings: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The gravest, of equal ones the surest and then the first: name, severity, message, `said`; None of none."""
    ranked = sorted(findings, key=_rank)
    return {key: ranked[0][key] for key in ("name", "severity", "message", "said")} if ranked else None


def _rank(finding: Mapping[str, Any]) -> tuple[int, float]:
    return -SEVERITIES.index(finding["severity"]), -(finding.get("confidence") or 0.0)


class Findings:
    """What the doctor found in a run. Each finding keeps its index for as long as the run is open.

    A finding is known by its name, and by its place among those of the same name: of one diagnosis, two splits may
    have the same fault.
    """

    def __init__(self) -> None:
        self._indices: dict[tuple[str, int], int] = {}
        self._live: dict[str, Finding] = {}
        self._final: list[Finding] | None = None

    def add(self, event: Mapping[str, Any]) -> Finding | None:
        """Take a `finding` event: it replaces an earlier one of its name. The finding; None of one too many."""
        finding = finding_of(event)
        if finding["name"] not in self._live and len(self._live) >= MOST_FINDINGS:
            return None
        self._live[finding["name"]] = finding | {"index": self._index(finding["name"], 0)}
        return self._live[finding["name"]]

    def conclude(self, diagnosis: Mapping[str, Any]) -> None:
        """Take the content of `diagnosis.json`: it replaces all; without one, what the events told holds."""
        if not isinstance(diagnosis.get("findings"), list):
            self._final = None
            return
        seen: Counter[str] = Counter()
        final = []
        for value in diagnosis["findings"][:MOST_FINDINGS]:
            if isinstance(value, dict):
                finding = finding_of(value)
                final.append(finding | {"index": self._index(finding["name"], seen[finding["name"]])})
                seen[finding["name"]] += 1
        self._final = final

    def all(self) -> list[Finding]:
        """The findings, the gravest first."""
        return sorted(self._live.values() if self._final is None else self._final, key=_rank)

    def _index(self, name: str, place: int) -> int:
        return self._indices.setdefault((name, place), len(self._indices))
