"""The Register step: a model package with its metrics, its model card and where it came from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sagemaker.core.model_metrics import MetricsSource, ModelMetrics
from sagemaker.core.resources import ModelPackageModelCard
from sagemaker.core.workflow.execution_variables import ExecutionVariables
from sagemaker.core.workflow.functions import Join
from sagemaker.core.workflow.pipeline_context import PipelineSession
from sagemaker.mlops.workflow.model_step import ModelStep
from sagemaker.serve.model_builder import ModelBuilder

from pipeline.settings import PROJECT, Account

MEDIA_TYPES = ["application/json", "application/jsonlines", "text/plain"]
INSTANCE_TYPES = ["ml.m5.large", "ml.m5.xlarge", "ml.c5.large", "ml.c5.xlarge"]
SERVING_ENVIRONMENT = {
    "SAGEMAKER_PROGRAM": "inference.py",
    "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
}
_ACCURACY_MARK = "<accuracy>"


@dataclass(frozen=True)
class Lineage:
    """What a model version is made of; most of it is known only when the pipeline runs."""

    model_data: Any
    evaluation: Any
    accuracy: Any
    data_sha256: Any
    code_digest: str
    parameters: dict[str, Any]


def register_step(
    session: PipelineSession, account: Account, lineage: Lineage, retry_policies: list[Any]
) -> ModelStep:
    """Register the trained artifact in the group with the status that the run asks for."""
    builder = ModelBuilder(
        image_uri=account.inference_image,
        s3_model_data_url=lineage.model_data,
        role_arn=account.role_arn,
        sagemaker_session=session,
        env_vars=dict(SERVING_ENVIRONMENT),
    )
    step_args = builder.register(
        model_package_group_name=account.model_package_group,
        content_types=MEDIA_TYPES,
        response_types=MEDIA_TYPES,
        inference_instances=INSTANCE_TYPES,
        transform_instances=INSTANCE_TYPES,
        approval_status=lineage.parameters["ModelApprovalStatus"],
        model_metrics=ModelMetrics(
            model_statistics=MetricsSource(
                content_type="application/json", s3_uri=lineage.evaluation
            )
        ),
        model_card=ModelPackageModelCard(
            model_card_content=_card_content(lineage.accuracy), model_card_status="Draft"
        ),
        customer_metadata_properties={
            "accuracy": lineage.accuracy.to_string(),
            "data_sha256": lineage.data_sha256.to_string(),
            "data_url": lineage.parameters["InputDataUrl"],
            "code_digest": lineage.code_digest,
            "source_commit": lineage.parameters["SourceCommit"],
            "execution_id": ExecutionVariables.PIPELINE_EXECUTION_ID,
        },
        domain="NATURAL_LANGUAGE_PROCESSING",
        task="CLASSIFICATION",
        skip_model_validation="All",
    )
    return ModelStep("Register", step_args=step_args, retry_policies=retry_policies)


def model_card() -> dict[str, Any]:
    """The model card of a version, its accuracy still to be filled in.

    Model package model card schema:
    https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-details.html
    """
    return {
        "model_overview": {"model_creator": PROJECT},
        "intended_uses": {
            "purpose_of_model": "Says whether an English movie review is positive or negative.",
            "intended_uses": "Movie reviews of any length, one verdict and its probability each.",
            "factors_affecting_model_efficiency": (
                "Irony, other languages, other subjects than films, and texts of a few words."
            ),
            "risk_rating": "Low",
            "explanations_for_risk_rating": "A wrong verdict decides nothing about a person.",
        },
        "business_details": {
            "business_problem": "Reviews are too many to be read by people.",
            "business_stakeholders": "Those who approve a version, and the users of the web page.",
            "line_of_business": "Media",
        },
        "training_details": {
            "objective_function": {
                "function": {
                    "function": "Minimize",
                    "facet": "Loss",
                    "condition": "binary cross-entropy on labelled training reviews",
                },
            },
            "training_observations": "The dictionary is built from training text only.",
        },
        "evaluation_details": [
            {
                "name": "Test reviews",
                "evaluation_observation": "Reviews that neither training nor selection has seen.",
                "metric_groups": [
                    {
                        "name": "binary_classification_metrics",
                        "metric_data": [
                            {"name": "accuracy", "type": "number", "value": _ACCURACY_MARK}
                        ],
                    }
                ],
            }
        ],
        "additional_information": {
            "caveats_and_recommendations": "Compare it with the served version before approving.",
        },
    }


def _card_content(accuracy: Any) -> Join:
    before, after = json.dumps(model_card()).split(f'"{_ACCURACY_MARK}"')
    return Join(on="", values=[before, accuracy, after])
