"""The conditions as Markdown, for the documents: what each looks for, its rule, its source, its advice, its measure."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping, Sequence
from string import Formatter
from types import ModuleType
from typing import Any

from trimtab.core.registry import CONDITIONS
from trimtab.monitor.autopilot import ADVICE_ONLY, BEFORE_TRAINING, RULES, Rule
from trimtab.monitor.findings import Finding

GAP = "…"
"""Stands in a remedy for what is filled in from the run."""

_REMEDY_PLACE = list(Finding.__dataclass_fields__).index("remedy")


def conditions_markdown(measured: Mapping[str, Any] | None = None) -> str:
    """A table of all registered conditions, then a section for each.

    Args:
        measured: what the benchmark of planted faults gave: `conditions` (name -> `recall` and `precision` as value,
            lower and upper end, `planted` runs, `delay_steps`), and `healthy` (`runs`, `with_act`, `share` likewise);
            None where it has not been run, and then no figures are shown.
    """
    figures = dict((measured or {}).get("conditions", {}))
    names = CONDITIONS.names()
    parts = [*_healthy_words(measured), *_table(names, figures if measured else None), ""]
    for name in names:
        condition = CONDITIONS.get(name)
        when = "between evaluations too" if condition.urgent else "at evaluations and at the end"
        parts += [
            f"### `{name}`",
            "",
            f"Looks for: {_title(name)}; {when}.",
            "",
            f"- Rule: {_sentence(condition.rule)}",
            f"- Source: {_sentence(condition.source)}",
            *(f"- Advice: {_sentence(remedy)}" for remedy in remedies(inspect.getmodule(condition))),
            "",
        ]
    return "\n".join(parts)


def autopilot_markdown() -> str:
    """The rules of the autopilot: during a run, before the first step, and what it leaves to people."""
    parts = [
        "During the run:",
        "",
        *_rule_table(RULES),
        "",
        "Before the first step:",
        "",
        *_rule_table(BEFORE_TRAINING),
    ]
    left = [f"- `{name}`: {_sentence(why)}" for name, why in ADVICE_ONLY.items()]
    return "\n".join([*parts, *(["", "Left to you:", "", *left] if left else [])])


def _rule_table(rules: Sequence[Rule]) -> list[str]:
    lines = ["| remedy | because of | does | where |", "| --- | --- | --- | --- |"]
    for rule in rules:
        cells = [f"`{rule.remedy}`", _called_by(rule), rule.does, rule.when]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return lines


def _called_by(rule: Rule) -> str:
    names = ", ".join(f"`{name}`" for name in rule.findings)
    return names if rule.least == "act" else f"{names} (a `{rule.least}` is enough)"


def remedies(module: ModuleType | None) -> list[str]:
    """The remedies that a condition's module gives, read from its source; `…` where a run's own values stand."""
    if module is None:
        return []
    tree = ast.parse(inspect.getsource(module))
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    values = [value for node in ast.walk(tree) for value in _remedy_values(node, functions)]
    values.sort(key=lambda value: (value.lineno, value.col_offset))
    found = [" ".join(text.split()) for value in values for text in _texts(value)]
    return list(dict.fromkeys(text for text in found if " " in text))


def _remedy_values(node: ast.AST, functions: Mapping[str, ast.FunctionDef]) -> Iterator[ast.expr]:
    """What a node makes a remedy: an argument, an assignment, or what a function returns for one."""
    if isinstance(node, ast.keyword) and node.arg == "remedy":
        yield node.value
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == Finding.__name__:
            yield from node.args[_REMEDY_PLACE : _REMEDY_PLACE + 1]
    elif isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        yield from (value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "remedy")
    elif isinstance(node, ast.FunctionDef) and ("remedy" in node.name or "advice" in node.name):
        firsts = (value.elts[:1] if isinstance(value, ast.Tuple) else [value] for value in _returned(node))
        yield from (value for found in firsts for value in found)
    elif isinstance(node, ast.Assign):
        (target, *_), value = node.targets, node.value
        if isinstance(target, ast.Name) and target.id == "remedy":
            yield value
        elif isinstance(target, ast.Tuple):
            yield from _unpacked(target, value, functions)


def _unpacked(target: ast.Tuple, value: ast.expr, functions: Mapping[str, ast.FunctionDef]) -> Iterator[ast.expr]:
    """What `remedy` gets of `cause, remedy = …`: of a tuple, or of the tuples that a function of the module returns."""
    names = [element.id if isinstance(element, ast.Name) else "" for element in target.elts]
    if "remedy" not in names:
        return
    for given in _possible(value, functions):
        if isinstance(given, ast.Tuple) and len(given.elts) == len(names):
            yield given.elts[names.index("remedy")]


def _possible(value: ast.expr, functions: Mapping[str, ast.FunctionDef]) -> Iterator[ast.expr]:
    """The expressions that a value may be: the branches of a choice, what a function of the module returns."""
    if isinstance(value, ast.IfExp):
        yield from _possible(value.body, functions)
        yield from _possible(value.orelse, functions)
    elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in functions:
        yield from _returned(functions[value.func.id])
    else:
        yield value


def _returned(function: ast.FunctionDef) -> list[ast.expr]:
    return [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value is not None]


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from (*_texts(node.body), *_texts(node.orelse))
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = list(_texts(node.left)), list(_texts(node.right))
        yield "".join([(left or [GAP])[0], (right or [GAP])[0]])
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _texts(value)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str" and node.args:
        yield from _texts(node.args[0])
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
        yield _said(node)


def _said(call: ast.Call) -> str:
    """The text of a template, with the texts that are put into it, of each the first that it may be."""
    (template,) = call.args
    if not isinstance(template, ast.Constant):
        raise TypeError(f"line {call.lineno}: the template of a sentence is not written out")
    given = {item.arg: next(iter(_texts(item.value)), GAP) for item in call.keywords}
    pieces = Formatter().parse(str(template.value))
    return "".join(literal + ("" if name is None else given.get(name, GAP)) for literal, name, _, _ in pieces)


def _table(names: Sequence[str], figures: Mapping[str, Any] | None) -> list[str]:
    if figures is None:
        return [
            "| condition | looks for |",
            "| --- | --- |",
            *(f"| {_link(name)} | {_title(name)} |" for name in names),
        ]
    lines = [
        "| condition | looks for | planted | recall | precision | delay, steps |",
        "| --- | --- | ---: | --- | --- | ---: |",
    ]
    for name in names:
        known = figures.get(name) or {}
        delay = known.get("delay_steps")
        cells = [
            _link(name),
            _title(name),
            str(known.get("planted") or "–"),
            _interval(known.get("recall")),
            _interval(known.get("precision")),
            "–" if delay is None else f"{delay:g}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _healthy_words(measured: Mapping[str, Any] | None) -> list[str]:
    if measured is None:
        return ["Recall and precision of these rules have not been measured.", ""]
    healthy = measured.get("healthy")
    if not healthy:
        return []
    warned = healthy.get("with_warning")
    also = "" if warned is None else f", {warned} one of severity `warning`"
    return [
        f"Of {healthy['runs']} healthy runs, {healthy['with_act']} got a finding of severity `act`{also}. Share with "
        f"`act`: {_interval(healthy['share'])}.",
        "",
    ]


def _link(name: str) -> str:
    return f"[`{name}`](#{name})"


def _title(name: str) -> str:
    title: str = CONDITIONS.get(name).title
    return (title if title[1:2].isupper() else title[:1].lower() + title[1:]).replace("|", "\\|")


def _sentence(text: str) -> str:
    """On one line, with a capital and a full stop, unless it begins with a name in code."""
    line = " ".join(text.split())
    line = line[:1].upper() + line[1:]
    return line if line.endswith((".", "!", "?", "…")) else f"{line}."


def _interval(values: Sequence[float | None] | None) -> str:
    if not values or values[0] is None:
        return "–"
    value, *ends = values
    known = [end for end in ends if end is not None]
    return f"{value:.2f}" + (f" ({known[0]:.2f} to {known[1]:.2f})" if len(known) == 2 else "")
