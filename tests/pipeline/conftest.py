"""A small clone, a bucket on moto, and the pipeline compiled from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from pipeline.compilation import compile_definition
from pipeline.settings import LOCAL_ACCOUNT_ID, Account, Settings

CLONE = {
    "steps/preprocess.py": "from model.text import words\nprint('preprocess', words)\n",
    "steps/train.py": "import inference\nfrom model.text import words\nprint('train', words)\n",
    "steps/evaluate.py": "from model.text import words\nprint('evaluate', words)\n",
    "steps/requirements.txt": "",
    "inference/inference.py": "from model.text import words\n",
    "model/__init__.py": "",
    "model/text.py": "words = ('good', 'bad')\n",
}


def write_clone(root: Path) -> Path:
    """Lay out the files that the jobs need, and some that they must not get."""
    for name, text in CLONE.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    stray = root / "model" / "__pycache__" / "text.cpython-311.pyc"
    stray.parent.mkdir()
    stray.write_bytes(b"compiled")
    (root / "model" / ".text.py.swp").write_text("an editor's")
    (root / "model" / "notes.ipynb").write_text("{}")
    return root


@pytest.fixture(scope="session")
def account() -> Account:
    return Settings().account(LOCAL_ACCOUNT_ID)


@pytest.fixture(scope="session")
def aws_session(account: Account) -> Iterator[boto3.Session]:
    """A session on moto that holds the project's bucket."""
    with mock_aws():
        session = boto3.Session("test", "test", region_name=account.region)
        session.client("s3").create_bucket(Bucket=account.bucket)
        yield session


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clone(tmp_path_factory.mktemp("a clone"))


@pytest.fixture(scope="session")
def definition_text(aws_session: boto3.Session, account: Account, clone: Path) -> str:
    return compile_definition(aws_session, account, clone).text


@pytest.fixture
def definition(definition_text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(definition_text)
    return document
