"""Methods from files outside the package: an editor, a tuner or a scorer is a Python file of the user's own.

Where the configuration names a method, it may give the path of a file (it ends in `.py`) that defines `edit`, `tune` or
`Scorer`, and a VERSION. docs/adding-an-editor.md, adding-a-tuner.md and adding-a-scorer.md say what these take.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast import digests
from holdfast.errors import HoldfastError


def is_file(name: str) -> bool:
    """Whether a method's name is the path of a file."""
    return name.endswith(".py")


def digest(path: str) -> str:
    """Digest of what a method's file does; HoldfastError if there is none, or if it is not Python."""
    try:
        return digests.file_digest(path)
    except (OSError, UnicodeDecodeError):
        raise HoldfastError(
            f"{path}: there is no such readable file: correct the method in the configuration."
        ) from None
    except (SyntaxError, ValueError) as error:
        raise HoldfastError(f"{path}: this is no valid Python ({error}): correct it.") from None


def constant(path: str, name: str) -> Any:
    """What a method's file sets `name` to at its top level, without running it; None where it doesn't.

    HoldfastError if there is no such file, or if the value is no literal.
    """
    digest(path)
    for node in ast.parse(Path(path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            try:
                return ast.literal_eval(node.value)
            except ValueError:
                raise HoldfastError(f"{path}: {name} is computed: write its value out.") from None
    return None


def resolve(registry: Mapping[str, Any], name: str, attribute: str) -> Any:
    """The method of that name: the registry's, or what the file of that path defines as `attribute`.

    A file's module can be found by `importlib.import_module(method.__module__)`, as the package's own; it is run once
    in a process. HoldfastError for an unknown name, and for a file that can't be run or lacks `attribute` or VERSION.
    """
    if not is_file(name):
        if name not in registry:
            raise HoldfastError(
                f"There is no method '{name}': take one of {', '.join(registry)}, or give a file (.py)."
            )
        return registry[name]
    module = _load(name)
    for wanted in (attribute, "VERSION"):
        if not hasattr(module, wanted):
            raise HoldfastError(f"{name}: this file defines no '{wanted}': add it, docs/adding-*.md say how.")
    return getattr(module, attribute)


def _load(path: str) -> Any:
    name = f"holdfast_plugin_{Path(path).stem}_{digest(path)}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    # Before it runs: a dataclass in the file looks its module up.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise HoldfastError(
            f"{path}: running this file failed ({type(error).__name__}: {error}): correct it."
        ) from error
    return module
