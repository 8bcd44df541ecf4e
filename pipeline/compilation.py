"""Compiles the pipeline to SageMaker's JSON, quietly and the same way each time."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from pipeline.settings import Account
from pipeline.source import ENTRY_FILES, stage

# The SDK reports each use to a bucket of AWS's unless its configuration says not to; given here,
# it is also the only configuration read, so that a user's own cannot change the definition.
SDK_CONFIG: dict[str, Any] = {
    "SchemaVersion": "1.0",
    "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}},
}


@dataclass(frozen=True)
class Compiled:
    """A compiled definition, the JSON text that SageMaker takes."""

    text: str

    @property
    def document(self) -> dict[str, Any]:
        """The definition as Python values."""
        document: dict[str, Any] = json.loads(self.text)
        return document


def compile_definition(session: Any, account: Account, root: Path) -> Compiled:
    """Compile the pipeline of the clone at `root`; uploads the jobs' source to the bucket."""
    trees = {job: stage(job, root) for job in ENTRY_FILES}
    with _sdk_surroundings(account.region):
        from sagemaker.core.config.config_manager import SageMakerConfig
        from sagemaker.core.workflow.pipeline_context import PipelineSession

        from pipeline.definition import get_pipeline

        sdk_session = PipelineSession(
            boto_session=session, default_bucket=account.bucket, sagemaker_config=SDK_CONFIG
        )
        # The SDK checks its configuration anew, schema included, at each look-up: nine tenths of
        # the time of a compile. The constant above is checked by our tests instead.
        with mock.patch.object(SageMakerConfig, "validate_sagemaker_config"):
            pipeline = get_pipeline(sdk_session, account, trees)
            return Compiled(pipeline.definition())


def training_image(region: str, instance_type: str) -> str:
    """The image for a training job on `instance_type`; imports the SDK."""
    with _sdk_surroundings(region):
        from pipeline import images

        return images.training_image(region, instance_type)


@contextmanager
def _sdk_surroundings(region: str) -> Iterator[None]:
    """What the SDK looks for in the environment, and silence from its logs, for a while."""
    wanted = {
        "AWS_DEFAULT_REGION": region,
        # ModelTrainer would ask IAM whether the role may do its work, each time it compiles.
        "SAGEMAKER_VALIDATE_ROLE": "false",
    }
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
