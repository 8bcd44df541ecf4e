"""Checks what a step sends to SageMaker against the service's own model, as boto3 would."""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel, StructureShape
from botocore.validate import ParamValidator

from pipeline.local.metrics import wrong_metrics
from pipeline.local.supported import FUNCTIONS

Document = dict[str, Any]
# Type of a step → its operation, and what the account adds to the arguments of the step.
REQUESTS: dict[str, tuple[str, Document]] = {
    "Processing": ("CreateProcessingJob", {"ProcessingJobName": "job", "RoleArn": "r" * 20}),
    "Training": ("CreateTrainingJob", {"TrainingJobName": "job", "RoleArn": "r" * 20}),
    "Transform": ("CreateTransformJob", {"TransformJobName": "job"}),
    "RegisterModel": ("CreateModelPackage", {}),
    "Model": ("CreateModel", {"ModelName": "model"}),
}


class _Validator(ParamValidator):
    """Takes an expression, whose value is known only in the run, for anything."""

    def _validate(self, params: Any, shape: Any, errors: Any, name: str) -> None:
        if not (isinstance(params, dict) and len(params) == 1 and next(iter(params)) in FUNCTIONS):
            super()._validate(params, shape, errors, name)  # type: ignore[misc]


@cache
def _service_model(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def wrong_arguments(service: str, operation: str, arguments: Document) -> str:
    """What is wrong with a request, "" if nothing is.

    Without a boto3 client: making one takes longer than all else that a run of the runner does.
    """
    shape = _service_model(service).operation_model(operation).input_shape
    report = _Validator().validate(arguments, shape or StructureShape("", {}))
    return str(report.generate_report())


def wrong_step(step: Document) -> str:
    """What is wrong with the arguments of a step that makes a job or a model, "" if nothing is."""
    if step["Type"] not in REQUESTS:
        return ""
    operation, added = REQUESTS[step["Type"]]
    arguments = {**added, **step.get("Arguments", {})}
    wrong = wrong_arguments("sagemaker", operation, arguments)
    return wrong or (wrong_metrics(arguments) if step["Type"] == "Training" else "")
