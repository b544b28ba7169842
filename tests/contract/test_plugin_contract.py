"""What every plugin of every kind keeps to. A new one is tested here by being there: nothing is listed by hand."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pydantic import ValidationError

from trimtab.config.plugins import PluginOptions, PluginSection, parse_options
from trimtab.core.errors import DuplicateNameError, UnknownNameError
from trimtab.core.registry import REGISTRIES, Registry

PLUGINS = [(kind, name) for kind, registry in REGISTRIES.items() for name in registry.names()]
HEAVY = ("torch", "transformers", "pandas", "sklearn", "accelerate", "peft")


@pytest.fixture(params=PLUGINS, ids=["/".join(plugin) for plugin in PLUGINS])
def plugin(request: pytest.FixtureRequest) -> type:
    kind, name = request.param
    return REGISTRIES[kind].get(name)


def test_there_are_plugins_of_every_kind() -> None:
    assert {kind for kind, _ in PLUGINS} == set(REGISTRIES)


def test_names_are_written_as_on_the_command_line(plugin: type) -> None:
    assert plugin.name == plugin.name.lower()
    assert not set(plugin.name) & set(" _/")


def test_has_a_docstring(plugin: type) -> None:
    assert plugin.__doc__ and plugin.__doc__.strip().endswith(".")
    assert sys.modules[plugin.__module__].__doc__


def test_options_are_frozen_and_forbid_what_they_do_not_know(plugin: type) -> None:
    options = plugin.Options
    assert issubclass(options, PluginOptions)
    assert options.model_config["frozen"] is True
    assert options.model_config["extra"] == "forbid"
    made = options()
    for name in options.model_fields:
        with pytest.raises(ValidationError):
            setattr(made, name, None)
    with pytest.raises(ValidationError, match="no_such_option"):
        options.model_validate({"no_such_option": 1})


def test_every_option_has_a_description(plugin: type) -> None:
    for name, field in plugin.Options.model_fields.items():
        assert field.description and field.description.endswith("."), name


def test_every_option_has_a_default(plugin: type) -> None:
    assert plugin.Options().model_dump() == plugin.Options.model_validate({}).model_dump()
    assert all(not field.is_required() for field in plugin.Options.model_fields.values())


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_options_come_from_a_recipe_section(kind: str, name: str) -> None:
    assert parse_options(kind, PluginSection.model_validate(name)) == REGISTRIES[kind].get(name).Options()


def test_modules_import_nothing_heavy() -> None:
    """One process for all plugins: reading names and options must stay fast."""
    modules = sorted({REGISTRIES[kind].get(name).__module__ for kind, name in PLUGINS})
    script = f"""
        import importlib, sys
        for module in {modules!r}:
            importlib.import_module(module)
        print([name for name in {HEAVY!r} if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", sorted(REGISTRIES))
def test_siblings_do_not_import_each_other(kind: str) -> None:
    registry = REGISTRIES[kind]
    modules = {registry.get(name).__module__ for name in registry.names()}
    for module in modules:
        names = vars(importlib.import_module(module)).values()
        strangers = {getattr(value, "__module__", None) for value in names} & (modules - {module})
        assert not strangers, module


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'partial'") as caught:
        REGISTRIES["strategy"].get("partail")
    assert "full" in caught.value.remedy


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package `house_of_plugins` with a registry `HOUSE`, on the path."""
    folder = tmp_path / "house_of_plugins"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "base.py").write_text(
        "from trimtab.core.registry import Registry\nHOUSE = Registry('guest', 'house_of_plugins')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("house_of_plugins")]:
        del sys.modules[name]


def guest(name: str) -> str:
    return f"from house_of_plugins.base import HOUSE\n\n@HOUSE.register({name!r})\nclass Guest:\n    pass\n"


def house() -> Registry:
    registry: Registry = importlib.import_module("house_of_plugins.base").HOUSE
    return registry


def test_a_new_file_is_found_by_itself(package: Path) -> None:
    (package / "first.py").write_text(guest("one"))
    (package / "second.py").write_text(guest("two"))
    (package / "_private.py").write_text("raise RuntimeError('not a plugin')\n")

    assert house().names() == ["one", "two"]
    assert house().get("two").__module__ == "house_of_plugins.second"
    assert house().get("two").name == "two"


def test_a_name_taken_twice_is_refused(package: Path) -> None:
    (package / "first.py").write_text(guest("one"))
    (package / "second.py").write_text(guest("one"))

    with pytest.raises(DuplicateNameError, match=r"house_of_plugins\.first\.Guest and house_of_plugins\.second\.Guest"):
        house().names()
