"""Packages that only some tasks need: they are imported when a game begins, not with ``envs``."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType


@dataclass(frozen=True)
class Extra:
    """A package that a task's games need, and what brings it."""

    package: str
    """As it is imported."""
    name: str
    """The extra of tdlens that installs it."""

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        return f"pip install 'tdlens[{self.name}]'"

    def load(self) -> ModuleType:
        """The package.

        Raises:
            ImportError: it isn't installed; the message says how to.
        """
        try:
            return import_module(self.package)
        except ImportError as error:
            raise ImportError(f"the package {self.package} isn't installed: {self.remedy}") from error
