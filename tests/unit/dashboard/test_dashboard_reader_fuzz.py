"""Damaged files of events: the reader that grows with them never fails, and ends where a naive full reading does."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from dashboard_runs import TABLES, naive_events, naive_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.dashboard.answers import json_text
from trimtab.dashboard.reading.places import Place
from trimtab.dashboard.reading.run import OpenRun
from trimtab.dashboard.reading.store import Store

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 40),
    st.sampled_from(
        [10**400, 1 << 53, -1, 2**63, 1.5, math.nan, math.inf, -math.inf, 1e300, "", "7", "\ud800", "标签"]
    ),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none() | st.floats() | st.text(max_size=3), max_size=2),
)
FIELDS = ["time", "epoch", "loss", "learning_rates", "grad_norm", "tokens", "seconds", "extras", "metrics", "split"]
FIELDS += ["held_in", "metric", "blocks", "noise", "memory_mib", "dead_units", "drift", "name", "severity", "message"]
FIELDS += ["by", "series", "rows", "evidence", "change", "confidence", "since", "action", "back_to", "command", "model"]
KINDS = ["start", "step", "evaluation", "signals", "inspection", "finding", "action", "control", "end", "phase", "odd"]


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    event: dict[str, Any] = {"type": draw(st.sampled_from(KINDS) | ODD), "step": draw(st.integers(0, 12) | ODD)}
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=6)):
        event[name] = draw(ODD)
    if draw(st.integers(0, 4)) == 0:
        event["action"] = draw(st.sampled_from(["resume", "stage", "interrupted"]))
    return event


@st.composite
def pieces(draw: st.DrawFn) -> bytes:
    """Something that is written to the file at once: a line, a torn one, a damaged one, or any bytes."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=40))
    line = json.dumps(draw(events()), ensure_ascii=draw(st.booleans())).encode("utf-8", "replace") + b"\n"
    if kind == 1:
        return line[: draw(st.integers(0, len(line)))]
    if kind == 2:
        place = draw(st.integers(0, len(line) - 1))
        return line[:place] + draw(st.binary(min_size=1, max_size=1)) + line[place + 1 :]
    return line


def place_of(folder: Path) -> Place:
    return Place("run", "run", folder, folder, None, folder)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(pieces(), st.sampled_from(["more", "more", "more", "shrink", "anew"])), max_size=25))
def test_reading_bit_by_bit_ends_where_a_full_reading_does(parts: list[tuple[bytes, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "events.jsonl"
        run = OpenRun(place_of(folder))
        client: dict[str, dict[int, float]] = {table: {} for table in TABLES}
        revision = run.refresh()
        for data, how in parts:
            if how == "anew":
                path.unlink(missing_ok=True)
            if how == "shrink" and path.exists():
                with open(path, "rb+") as file:
                    file.truncate(path.stat().st_size // 2)
                run.refresh()
            with open(path, "ab") as file:
                file.write(data)
            revision = follow(run, client, revision)
            json_text(run.detail())
        assert same(client, naive_rows(naive_events(path)))
        assert same(rows_of(run), client)


def follow(run: OpenRun, client: dict[str, dict[int, float]], revision: int) -> int:
    """What a page does with an increment."""
    increment = run.since(revision)
    tables = increment.tables
    json_text([tables, increment.findings, increment.actions])
    if increment.reload:
        found = run.series(50_000)
        tables = found["tables"]
        for rows in client.values():
            rows.clear()
    if increment.cut is not None:
        for rows in client.values():
            for step in [step for step in rows if step > increment.cut]:
                del rows[step]
    for name, table in tables.items():
        assert not set(table["step"]) & set(client[name]), "a row came twice"
        client[name] |= losses(name, table["step"], table["series"])
    return increment.revision


def rows_of(run: OpenRun) -> dict[str, dict[int, float]]:
    columns = {name: run.columns(name) for name in TABLES}
    return {name: losses(name, found.step.tolist(), found.series) for name, found in columns.items()}


def losses(table: str, steps: list[int], series: Any) -> dict[int, float]:
    name = {"step": "loss", "evaluation": "validation/loss", "signals": "memory_mib"}.get(table, "")
    values = series.get(name, [math.nan] * len(steps))
    return {step: math.nan if value is None else float(value) for step, value in zip(steps, values, strict=True)}


def same(one: dict[str, dict[int, float]], other: dict[str, dict[int, float]]) -> bool:
    """Equal but for the precision of float32; infinite values are sent as null."""
    for name in TABLES:
        if list(one[name]) != sorted(other[name]):
            return False
        left, right = (np.array([rows[name][step] for step in one[name]]) for rows in (one, other))
        with np.errstate(over="ignore"):
            left, right = left.astype(np.float32), right.astype(np.float32)
        left[~np.isfinite(left)], right[~np.isfinite(right)] = np.nan, np.nan
        if not np.allclose(left, right, rtol=1e-5, equal_nan=True):
            return False
    return True


@settings(max_examples=100, deadline=None)
@given(st.lists(pieces(), max_size=12), st.binary(max_size=60), st.sampled_from(["json", "yaml", "object"]))
def test_list_copes_with_any_files(parts: list[bytes], content: bytes, kind: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        folder.mkdir()
        (folder / "events.jsonl").write_bytes(b"".join(parts))
        if kind == "object":
            content = json.dumps({"findings": [3, {}], "metrics": 3, "state": 7, "error": [], "pid": -1}).encode()
        for file in ("recipe.yaml", "environment.json", "heartbeat.json", "diagnosis.json", "evaluation.json"):
            (folder / file).write_bytes(content)
        store = Store(Path(name))
        try:
            assert [summary["id"] for summary in store.scan().changed] == ["run"]
            json_text(store.detail("run"))
            assert store.scan().changed in ([], [store.summary("run")])
        finally:
            store.close()
