"""Command-line flags derived from the recipe: its fields are the only place where they are named and described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from trimtab.config.fields import FieldInfo, fields, plugin_kinds
from trimtab.config.yaml_text import format_value

if TYPE_CHECKING:
    from trimtab.config.load import ResolvedRecipe

F = TypeVar("F", bound=Callable[..., Any])

_PREFIX = "recipe__"
_METAVARS = {int: "INTEGER", float: "NUMBER"}


@dataclass(frozen=True)
class RecipeArguments:
    """What the user said of the recipe on the command line.

    Args:
        file: of `--recipe`.
        overrides: dotted key -> value, of the flags that were given and of no others.
        settings: the texts of `--set`.
    """

    file: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    settings: tuple[str, ...] = ()

    def override(self, **values: Any) -> RecipeArguments:
        """These arguments with further values; `data__path="x.csv"` stands for the key `data.path`."""
        return replace(
            self, overrides={**self.overrides, **{key.replace("__", "."): value for key, value in values.items()}}
        )

    def resolve(self) -> ResolvedRecipe:
        """The checked recipe.

        Raises:
            RecipeError: with every problem of file, flags and settings.
        """
        from trimtab.config.load import build_recipe

        return build_recipe(file=self.file, overrides=self.overrides, settings=self.settings)


class RecipeOption(click.Option):
    """A flag of a recipe field. Values stay texts: the recipe checks them, so that all errors come at once."""

    def __init__(self, *args: Any, recipe_field: FieldInfo, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.recipe_field = recipe_field

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The flag and its help; names of plugins are looked up only now, as they are imported for it."""
        if self.recipe_field.key in plugin_kinds():
            self.metavar = f"[{'|'.join(plugin_kinds()[self.recipe_field.key].names())}]"
        return super().get_help_record(ctx)


def recipe_flags(*prefixes: str) -> Callable[[F], F]:
    """Decorator: every flag of the recipe, `--set` and `--recipe`, passed as one `recipe: RecipeArguments`.

    Args:
        prefixes: keys or sections (`data`, `model.name`) whose flags are offered; all when none is named.
    """
    chosen = [info for info in fields(plugins=False) if info.flag and _is_wanted(info.key, prefixes)]
    keys = {_PREFIX + info.key.replace(".", "__"): info.key for info in chosen}

    def decorate(command: F) -> F:
        @wraps(command)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            context = click.get_current_context()
            overrides: dict[str, Any] = {}
            for name, key in keys.items():
                value = kwargs.pop(name)
                if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                    overrides[key] = list(value) if isinstance(value, tuple) else value
            file, settings = kwargs.pop("recipe_file"), kwargs.pop("recipe_settings")
            return command(*args, recipe=RecipeArguments(file, overrides, settings), **kwargs)

        wrapped: Any = wrapper
        for option in reversed([*(_flag_option(info) for info in chosen), *_file_options()]):
            wrapped = option(wrapped)
        result: F = wrapped
        return result

    return decorate


def _is_wanted(key: str, prefixes: tuple[str, ...]) -> bool:
    return not prefixes or any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def _flag_option(info: FieldInfo) -> Callable[[F], F]:
    declarations = [str(info.flag), _PREFIX + info.key.replace(".", "__")]
    default = "" if info.default is None else f"; default: {format_value(info.default)}"
    options: dict[str, Any] = {"help": f"{info.description} [{info.key}{default}]", "recipe_field": info}
    if info.types == {bool}:
        if info.default:
            declarations[0] += f"/--no-{str(info.flag).removeprefix('--')}"
        options["is_flag"] = True
    else:
        options |= {"type": str, "multiple": list in info.types, "metavar": _metavar(info)}
    return click.option(*declarations, cls=RecipeOption, **options)


def _metavar(info: FieldInfo) -> str:
    if info.choices:
        return f"[{'|'.join(info.choices)}]"
    return next((name for kind, name in _METAVARS.items() if kind in info.types), "TEXT")


def _file_options() -> list[Callable[[F], F]]:
    return [
        click.option(
            "--recipe",
            "recipe_file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Recipe in YAML; flags and --set go over it. A run's recipe.yaml does too.",
        ),
        click.option(
            "--set",
            "recipe_settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set any key of the recipe, e.g. optimizer.learning_rate=3e-5; repeat for more. Keys: trimtab recipe.",
        ),
    ]
