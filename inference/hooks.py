"""The hooks of the version in a model directory, loaded only after its manifest holds."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import ModelError
from model.manifest import verify


class ServingError(Exception):
    """Base of this package's errors."""


class LoadError(ServingError):
    """A model directory that cannot be served: not vouched for, or without its hooks."""


@dataclass(frozen=True)
class Hooks:
    """See `inference.py`."""

    model_fn: Callable[[str], Any]
    input_fn: Callable[[bytes, str], Any]
    predict_fn: Callable[[Any, Any], Any]
    output_fn: Callable[[Any, str], tuple[str | bytes, str]]


def load_hooks(model_dir: Path, program: str = "inference.py") -> Hooks:
    """Verify every file, then import the version's own code.

    Code is taken from `<model_dir>/code` and nowhere else, because only that is vouched for.
    Raises LoadError.
    """
    name = f"code/{program}"
    try:
        if name not in verify(model_dir):
            raise LoadError(f"{name}: is not in the artifact's manifest")
    except (ModelError, OSError) as error:
        raise LoadError(str(error)) from error
    _forget("model")
    sys.dont_write_bytecode = True  # a compiled file would be one that the manifest lacks
    sys.path.insert(0, str(model_dir / "code"))
    spec = importlib.util.spec_from_file_location("version_hooks", model_dir / name)
    if spec is None or spec.loader is None:
        raise LoadError(f"{name}: is no Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return Hooks(module.model_fn, module.input_fn, module.predict_fn, module.output_fn)
    except AttributeError as error:
        raise LoadError(f"{name}: has no {error.name}") from error


def _forget(package: str) -> None:
    """The checker above came from the server's own copy; a version brings the one it was made
    with, and must not meet modules of another.
    """
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]
