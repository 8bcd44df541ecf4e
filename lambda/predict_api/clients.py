"""What a process makes once and keeps: its settings and its connections."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from predict_api.endpoint import Endpoint
from predict_api.settings import Settings

# boto3 takes longer to import than the rest of a cold start together, so it is imported where it is
# first needed.


@cache
def settings() -> Settings:
    return Settings.from_env(os.environ)


@cache
def endpoint() -> Endpoint:
    return Endpoint(settings(), _runtime)


@cache
def s3() -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=1, read_timeout=4, retries={"mode": "standard", "total_max_attempts": 2}
    )
    return boto3.client("s3", config=config)


@cache
def _runtime() -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=settings().connect_timeout_s,
        read_timeout=settings().read_timeout_s,
        # Endpoint decides what is worth another attempt, and within which time
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=64,
    )
    return boto3.client("sagemaker-runtime", config=config)
