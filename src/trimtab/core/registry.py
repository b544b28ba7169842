"""Plugins by name: a folder of siblings is discovered, third parties register by entry point.

A registry knows the package whose modules hold its plugins. The first lookup imports these modules (each registers its
class with the decorator) and the entry points of the group `trimtab.<kind>`. Plugin modules keep torch out of their
module level, so that reading names and options stays fast.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

from trimtab.core.errors import DuplicateNameError, UnknownNameError, nearest

T = TypeVar("T", bound=type)


class Registry:
    """The plugins of one kind.

    Args:
        kind: singular noun for messages and the entry-point group, e.g. `strategy`.
        package: dotted name of the folder whose modules register themselves.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._plugins: dict[str, type[Any]] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: make the class available under `name`.

        Raises:
            DuplicateNameError: another class holds the name.
        """

        def decorate(plugin: T) -> T:
            holder = self._plugins.get(name)
            if holder is not None and (holder.__module__, holder.__qualname__) != (
                plugin.__module__,
                plugin.__qualname__,
            ):
                raise DuplicateNameError(
                    f"Two {self.kind} plugins are called {name!r}: {holder.__module__}.{holder.__qualname__} and "
                    f"{plugin.__module__}.{plugin.__qualname__}.",
                    remedy="Rename one of them, or uninstall the package that brings it.",
                )
            setattr(plugin, "name", name)  # noqa: B010 (a plain assignment does not type-check for any class)
            self._plugins[name] = plugin
            return plugin

        return decorate

    def names(self) -> list[str]:
        """All names, sorted."""
        self._discover()
        return sorted(self._plugins)

    def get(self, name: str) -> type[Any]:
        """The class registered as `name`.

        Raises:
            UnknownNameError: nothing goes by that name; the message offers the nearest.
        """
        self._discover()
        if name not in self._plugins:
            raise UnknownNameError(
                f"No {self.kind} is called {name!r}.{nearest(name, self._plugins)}",
                remedy=f"Known: {', '.join(self.names())}.",
            )
        return self._plugins[name]

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        folder = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(folder.__path__):
            if module.name != "base" and not module.name.startswith("_"):
                importlib.import_module(f"{self.package}.{module.name}")
        for entry_point in entry_points(group=f"trimtab.{self.kind}"):
            self.register(entry_point.name)(entry_point.load())


TASKS = Registry("task", "trimtab.tasks")
STRATEGIES = Registry("strategy", "trimtab.strategies")
CONDITIONS = Registry("condition", "trimtab.monitor.conditions")
TRACKERS = Registry("tracker", "trimtab.integrations.trackers")
REGISTRIES = {registry.kind: registry for registry in (TASKS, STRATEGIES)}
