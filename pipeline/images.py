"""Which container image a job runs in."""

from __future__ import annotations

from sagemaker.core import image_uris

# AWS Deep Learning Containers, the maintained Amazon Linux 2023 line for SageMaker:
# https://aws.github.io/deep-learning-containers/ ; the SDK lists it under its own framework name.
FRAMEWORK = "pytorch-amzn2023"
VERSION = "2.13"


def training_image(region: str, instance_type: str) -> str:
    """URI of the image for jobs on `instance_type`: the CUDA twin where it has a GPU."""
    uri: str = image_uris.retrieve(
        FRAMEWORK,
        region,
        version=VERSION,
        instance_type=instance_type,
        image_scope="training",
    )
    return uri
