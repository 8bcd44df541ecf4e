"""A small clone, a bucket in a local account, and the pipeline compiled from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

import pipeline.local
from pipeline.compilation import compile_definition
from pipeline.local import processes
from pipeline.settings import LOCAL_ACCOUNT_ID, Account, Settings
from pipeline.target import Target

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
def aws_session(account: Account, tmp_path_factory: pytest.TempPathFactory) -> boto3.Session:
    """A session on a local account that holds the project's bucket."""
    session = pipeline.local.session(tmp_path_factory.mktemp("an account"))
    session.client("s3").create_bucket(Bucket=account.bucket)
    return session


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


@pytest.fixture
def target(account: Account, tmp_path: Path) -> Iterator[Target]:
    """A target whose account is a folder; its images run commands, no function is called."""
    home = tmp_path / "a home"
    session = pipeline.local.session(
        home, images={"*": pipeline.local.Image()}, functions={}, rules=[]
    )
    made = Target(
        settings=Settings(home=home),
        account=account,
        session=session,
        poll_s=0.02,
        deploy_timeout_s=5.0,
        log_place=lambda group, stream: f"{group} {stream}",
        file_place=lambda bucket, key: str(home / "s3" / bucket / key),
    )
    made.prepare()
    yield made
    for child in processes._CHILDREN:  # a runner leaves a moment after it has said how it ended
        child.wait(30)


def register(target: Target, accuracy: str = "0.9", **metadata: str) -> int:
    """Register a version as the pipeline would; its number."""
    arn = target.client("sagemaker").create_model_package(
        ModelPackageGroupName=target.account.model_package_group,
        ModelApprovalStatus="PendingManualApproval",
        CustomerMetadataProperties={"accuracy": accuracy, **metadata},
        InferenceSpecification={
            "Containers": [{"Image": "image:1", "ModelDataUrl": "s3://bucket/model.tar.gz"}],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )["ModelPackageArn"]
    return int(arn.rpartition("/")[2])
