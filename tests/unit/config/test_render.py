from __future__ import annotations

import re
from pathlib import Path

from trimtab.config.fields import fields, plain_fields
from trimtab.config.load import build_recipe
from trimtab.config.render import recipe_markdown, recipe_schema, recipe_yaml


def test_every_field_is_described_and_has_words_for_its_type() -> None:
    for field in fields():
        assert len(field.description) > 2, field.key
        assert field.type_words, field.key
        assert "Annotated" not in field.type_words and "typing" not in field.type_words, field.key


def test_fields_name_flags_choices_and_plugin_options() -> None:
    found = {(field.key, field.plugin): field for field in fields()}
    assert found["optimizer.learning_rate", None].flag == "--learning-rate"
    assert found["optimizer.learning_rate", None].type_words == "number above 0 or `auto`"
    assert found["training.precision", None].choices == ("auto", "fp32", "bf16")
    assert found["task", None].choices == ("auto", "image-classification", "text-classification")
    assert found["strategy.last_blocks", "partial"].default is None
    assert found["strategy.patterns", "partial"].default == []
    assert found["data.text", None].type_words == "text, list of text or null"
    flags = [field.flag for field in fields() if field.flag]
    assert len(flags) == len(set(flags))


def test_yaml_reads_as_the_default_recipe(tmp_path: Path) -> None:
    text = recipe_yaml()
    path = tmp_path / "all.yaml"
    path.write_text(text)
    resolved = build_recipe(file=path)
    assert resolved.recipe == build_recipe().recipe
    assert all(len(line) <= 100 for line in text.splitlines()[3:])
    for key, field in plain_fields().items():
        assert resolved.origins[key] == "file"
        assert field.description.split()[0] in text


def test_yaml_shows_the_options_of_other_plugins_as_comments(tmp_path: Path) -> None:
    text = recipe_yaml()
    assert "  # With `name: partial`. Train some.\n" in text
    assert "  # last_blocks: null\n" in text
    path = tmp_path / "partial.yaml"
    path.write_text(
        text.replace("  name: full", "  name: partial").replace("  # last_blocks: null", "  last_blocks: 2")
    )
    assert build_recipe(file=path).recipe.strategy.options["last_blocks"] == 2


def test_markdown_has_a_row_for_every_field() -> None:
    text = recipe_markdown()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == len(list(fields()))
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)
    assert "| `seed` | whole number of at least 0 | `0` | `--seed` | Seed of every random stream. |" in rows
    assert "| `strategy.patterns` | list of text | `[]` |  | Names \\| patterns. |" in rows
    assert re.findall(r"^## (.*)$", text, re.M)[:4] == ["Top level", "data", "model", "task"]
    assert "### strategy: `partial`\n\nTrain some.\n" in text


def test_schema_names_every_section_and_plugin() -> None:
    schema = recipe_schema()
    assert schema["additionalProperties"] is False
    assert "PluginSection" not in str(schema)
    strategy = schema["properties"]["strategy"]
    assert strategy["anyOf"][0] == {"type": "string", "enum": ["full", "partial"]}
    assert strategy["anyOf"][2]["properties"]["name"] == {"const": "partial"}
    assert "last_blocks" in strategy["anyOf"][2]["properties"]
