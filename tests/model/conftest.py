import shutil
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
def artifact(tmp_path: Path, pristine_artifact: Path) -> Path:
    """A model directory that a test may spoil."""
    return Path(shutil.copytree(pristine_artifact, tmp_path / "artifact"))
