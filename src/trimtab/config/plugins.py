"""Recipe sections whose keys depend on the plugin they name.

`strategy: partial` and `strategy: {name: partial, last_blocks: 2}` both parse to a `PluginSection`; the options are
checked against the options model of the plugin, found through `core.registry`, so that a new plugin needs no change
here.
"""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from trimtab.core.registry import REGISTRIES


class StrictModel(BaseModel):
    """Base of everything a recipe holds: unknown keys, infinite numbers, and booleans for numbers are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `batch_size: true`, which pydantic would read as 1."""
        field = cls.model_fields.get(info.field_name or "")
        if isinstance(value, bool) and field is not None and not _accepts_bool(field.annotation):
            raise PydanticCustomError("boolean_given", "a boolean was given")
        return value


def _accepts_bool(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(_accepts_bool(part) for part in get_args(annotation))


class PluginOptions(StrictModel):
    """Base of every plugin's options: unknown keys are refused."""

    model_config = ConfigDict(frozen=True)


class PluginSection(BaseModel):
    """The name of a plugin and the options given for it.

    Args:
        name: registered name.
        options: what was given; `parse_options` fills in the defaults.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "options" not in value:
            options = {key: item for key, item in value.items() if key != "name"}
            return {**({"name": value["name"]} if "name" in value else {}), "options": options}
        return value

    def flat(self) -> dict[str, Any]:
        """`name` and the options as one mapping, the way YAML writes them."""
        return {"name": self.name, **self.options}


def plugin_field(kind: str, default: str, description: str, extra: dict[str, Any], placeholder: str = "") -> Any:
    """A recipe field that names a plugin of `kind`; `placeholder` is a name that stands for none yet (`auto`)."""
    return Field(
        default_factory=lambda: PluginSection(name=default),
        description=description,
        json_schema_extra={**extra, "plugin": kind, "placeholder": placeholder, "default_name": default},
    )


def parse_options(kind: str, section: PluginSection) -> PluginOptions:
    """The options of the plugin that `section` names, defaults filled in.

    Raises:
        UnknownNameError: no plugin has that name.
        pydantic.ValidationError: an option is unknown or out of range.
    """
    plugin = REGISTRIES[kind].get(section.name)
    options: PluginOptions = plugin.Options.model_validate(section.options)
    return options


__all__ = ["PluginOptions", "PluginSection", "StrictModel", "parse_options", "plugin_field"]
