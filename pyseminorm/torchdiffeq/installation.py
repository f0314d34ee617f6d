"""`install`: packages that import torchdiffeq themselves get this module in its place."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sys
from types import ModuleType
from typing import Any

logger = logging.getLogger("pyseminorm")

NAME = "torchdiffeq"
_replaced: dict[str, ModuleType] = {}  # what stood in sys.modules before
_OURS = __name__.rpartition(".")[0]


def install() -> None:
    """Register `pyseminorm.torchdiffeq` in `sys.modules` as "torchdiffeq", for packages that import that themselves.

    Call it before they are imported: what has imported torchdiffeq's functions already keeps them, and the log line
    says so. A second call does nothing.

    Examples:
        >>> import sys, pyseminorm.torchdiffeq
        >>> pyseminorm.torchdiffeq.install()
        >>> import torchdiffeq
        >>> torchdiffeq is pyseminorm.torchdiffeq
        True
        >>> pyseminorm.torchdiffeq.uninstall()
    """
    if is_installed():
        return
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_theirs(name)}
    _replaced.update(before)
    for name in _module_names():
        sys.modules[NAME + name] = importlib.import_module(_OURS + name)
    sys.meta_path.append(_Missing)
    late = "; what has imported torchdiffeq before keeps it" if before else ""
    logger.info(f"torchdiffeq is pyseminorm.torchdiffeq from now on{late}")


def uninstall() -> None:
    """Undo `install`: an import of torchdiffeq gives again what it gave before. Without `install`, do nothing."""
    if not is_installed():
        return
    sys.meta_path.remove(_Missing)
    for name in [name for name in sys.modules if _is_theirs(name)]:
        del sys.modules[name]
    sys.modules.update(_replaced)
    _replaced.clear()


def is_installed() -> bool:
    """Tell whether "torchdiffeq" is this package."""
    return sys.modules.get(NAME) is sys.modules[_OURS]


class _Missing:
    """Refuses the modules of torchdiffeq that are not here, by name; asked where no other finder knows a module."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        """Raise an error that says whose torchdiffeq this is, if it is asked for one of its modules."""
        if _is_theirs(name):
            raise ModuleNotFoundError(
                f"No module named {name!r}: torchdiffeq is {_OURS}, by install(). What uses torchdiffeq's own solvers "
                "and helpers needs torchdiffeq itself: import it before install(), or after uninstall().",
                name=name,
            )


def _is_theirs(name: str) -> bool:
    return name == NAME or name.startswith(NAME + ".")


def _module_names() -> list[str]:
    """Return the package, and the modules that torchdiffeq has too, as endings of their names."""
    inside = importlib.import_module(_OURS + "._impl").__path__
    return ["", "._impl", *(f"._impl.{module.name}" for module in pkgutil.iter_modules(inside))]
