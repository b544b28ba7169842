"""Templates: an environment for HTML and one for Markdown, both of which escape what they are given."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jinja2
from markupsafe import Markup, escape

from trimtab.evaluation.result import Interval

MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]|#~$!])")
LIST_MARK = re.compile(r"^(\d*)([-+=.)])(?=\s|$)")


def render(template: str, **variables: Any) -> str:
    """The template of the package filled in; its name decides whether HTML or Markdown is escaped."""
    environment = _environment("html" if ".html." in template else "markdown")
    return environment.get_template(template).render(**variables)


def escape_markdown(value: Any) -> str:
    """`value` on one line, with nothing in it that Markdown or HTML would read as markup."""
    if isinstance(value, Markup):
        return value
    text = " ".join(str(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return LIST_MARK.sub(r"\1\\\2", MARKDOWN_SPECIAL.sub(r"\\\1", text))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys; an empty mapping stands as it is."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def number(value: float | None, digits: int = 3) -> str:
    """`value` with `digits` decimals; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def span(interval: Interval) -> str:
    """The ends of an interval."""
    return f"{number(interval.low)} to {number(interval.high)}"


def duration(seconds: Any) -> str:
    """Seconds for people, `1 h 02 min`, `3 min 05 s`, `4.2 s`; what is no number stays as it is."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return str(seconds)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def with_code(text: str) -> Markup:
    """`text` escaped, what stands between backticks as code."""
    parts = re.split(r"`([^`]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


@lru_cache
def _environment(kind: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trimtab.evaluation", "templates"),
        autoescape=kind == "html",
        finalize=None if kind == "html" else escape_markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        number=number,
        span=span,
        duration=duration,
        with_code=with_code,
        percent=lambda share: f"{100 * share:.1f} %",
    )
    return environment
