"""Sentences that remember what they were made of, so that a page can say them in another language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from string import Formatter
from typing import Any

MOST_NESTED = 12
"""Sentences within sentences, at most."""


class Said(str):
    """A sentence in English, with the template that it was made from and what was put into it.

    It is an ordinary text for whoever only wants to show it. Whatever makes a new text of it (`+`, f-strings,
    `replace`) gives an ordinary text; sentences are put together by `say` and `together`.

    Args:
        text: the sentence.
        template: with `{name}` in place of each value, without formats.
        values: name -> text, or another sentence.
    """

    template: str
    values: Mapping[str, str]

    def __new__(cls, text: str, template: str, values: Mapping[str, str]) -> Said:
        """A text with its origin."""
        said = super().__new__(cls, text)
        said.template, said.values = template, dict(values)
        return said

    def __getnewargs__(self) -> tuple[str, str, Mapping[str, str]]:  # type: ignore[override]
        """For copies and pickles."""
        return str(self), self.template, self.values

    def to_dict(self) -> dict[str, Any]:
        """`template` and `values`, in plain JSON types."""
        values = {
            name: value.to_dict() if isinstance(value, Said) else str(value) for name, value in self.values.items()
        }
        return {"template": self.template, "values": values}


def say(template: str, /, **values: object) -> Said:
    """The sentence of a template in the syntax of `str.format`, with named fields only.

    The page's catalogue knows a sentence by its template (without the formats), so a template is always written out
    where `say` is called, and what varies goes into values: numbers, names, or other sentences.

    Args:
        template: for example `"{wrong:.0%} of {rows:,} rows"`.
        values: one a field, and no more.

    Raises:
        ValueError: a field without a name or with a part of its value (`{row.text}`), or one that is no value's, or a
            value in no field, or in two that show it differently.
    """
    texts: dict[str, str] = {}
    for _, name, form, conversion in Formatter().parse(template):
        if name is None:
            continue
        if name not in values:
            raise ValueError(f"{template!r} has the field {name!r}, which no value is given for.")
        value = values[name]
        text = value if isinstance(value, Said) and not (form or conversion) else _shown(value, form, conversion)
        if texts.setdefault(name, text) != text:
            raise ValueError(f"{template!r} shows {name!r} in two ways.")
    if texts.keys() != values.keys():
        raise ValueError(f"{template!r} has no field for {', '.join(sorted(values.keys() - texts.keys()))}.")
    bare = bare_template(template)
    return Said(bare.format(**texts), bare, texts)


def together(*sentences: str) -> Said:
    """Sentences one after another, with a space between them; empty ones are left out."""
    return _joined(" ", sentences)


def listed(*parts: str) -> Said:
    """Parts of a sentence with commas between them; empty ones are left out."""
    return _joined(", ", parts)


def _joined(between: str, parts: Iterable[str]) -> Said:
    named = {f"part{number}": part for number, part in enumerate(filter(None, parts), start=1)}
    return say(between.join(f"{{{name}}}" for name in named), **named)


def bare_template(template: str) -> str:
    """A template without the formats of its fields: what a catalogue of translations knows the sentence by."""
    pieces = []
    for literal, name, _, _ in Formatter().parse(template):
        pieces.append(literal.replace("{", "{{").replace("}", "}}"))
        if name is not None:
            pieces.append(f"{{{name}}}")
    return "".join(pieces)


def origins(**sentences: str) -> dict[str, Any]:
    """What is written beside sentences, so that they can be said in another language: name -> template and values.

    Those that are ordinary texts are left out.
    """
    return {name: sentence.to_dict() for name, sentence in sentences.items() if isinstance(sentence, Said)}


def restored(text: str, origin: object) -> str:
    """The sentence that `Said.to_dict` wrote the origin of; the text itself where that is damaged or not there."""
    said = _restored(origin, MOST_NESTED)
    return said if said == text else text


def _restored(origin: object, depth: int) -> str:
    if isinstance(origin, str):
        return origin
    template = origin.get("template") if isinstance(origin, Mapping) else None
    values = origin.get("values") if isinstance(origin, Mapping) else None
    if not depth or not isinstance(template, str) or not isinstance(values, Mapping):
        return ""
    try:
        return say(template, **{str(name): _restored(value, depth - 1) for name, value in values.items()})
    except ValueError:
        return ""


def _shown(value: object, form: str | None, conversion: str | None) -> str:
    return format(Formatter().convert_field(value, conversion), form or "")
