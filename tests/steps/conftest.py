from pathlib import Path

import pytest

from tests.model import factory


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts and `model/` as a job sees them, and nothing else."""
    return factory.stage(tmp_path_factory.mktemp("staged"))


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory, code: Path) -> Path:
    return factory.write_tiny_artifact(tmp_path_factory.mktemp("artifact") / "model", code)
