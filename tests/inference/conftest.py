import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model import factory


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factory.stage(tmp_path_factory.mktemp("code"))


@pytest.fixture(scope="session")
def pristine_artifact(tmp_path_factory: pytest.TempPathFactory, code: Path) -> Path:
    return factory.write_tiny_artifact(tmp_path_factory.mktemp("artifact") / "model", code)


@pytest.fixture
def own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a loaded version does to this process is taken back."""
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "model"}
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "model"]:
        del sys.modules[name]
    sys.modules.update(kept)
