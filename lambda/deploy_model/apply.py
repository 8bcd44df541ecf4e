"""Sends requests. Every one of them may have been sent before, by us or by someone beside us."""

from __future__ import annotations

from botocore import xform_name
from botocore.exceptions import ClientError

from deploy_model.observe import Clients, SageMakerClient, describe_endpoint, is_missing
from deploy_model.observed import Endpoint, Observed
from deploy_model.settings import Settings
from deploy_model.variants import Request

NAME_PARAMETER = {
    "CreateModel": "ModelName",
    "CreateEndpointConfig": "EndpointConfigName",
    "CreateEndpoint": "EndpointName",
}
# Refusals that say that another call was faster with the same.
ALREADY_DONE = {
    "PutObject": ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"),
    "DeregisterScalableTarget": ("ObjectNotFoundException",),
}


def apply(clients: Clients, settings: Settings, observed: Observed, request: Request) -> bool:
    """Send one request; return False where the account has moved on and needs a new look.

    Raises ClientError for everything that looking again would not mend.
    """
    sagemaker = clients("sagemaker")
    if request.operation == "UpdateEndpoint" and _has_moved_on(
        sagemaker, settings, observed.endpoint
    ):
        return False
    try:
        getattr(clients(request.service), xform_name(request.operation))(**request.parameters)
    except ClientError as error:
        if error.response["Error"]["Code"] in ALREADY_DONE.get(request.operation, ()):
            return True
        if request.operation.startswith("Create") and _exists(sagemaker, request):
            # Names of models and configs say what they hold, so one that exists is the one we
            # want. An endpoint's does not: look what became of it.
            return request.operation != "CreateEndpoint"
        if request.operation.startswith("Delete") and is_missing(error):
            return True
        if request.operation in ("UpdateEndpoint", "DeleteEndpoint") and _has_moved_on(
            sagemaker, settings, observed.endpoint
        ):
            return False
        raise
    return True


def _exists(sagemaker: SageMakerClient, request: Request) -> bool:
    """Ask for the thing itself: what the refusal says differs by resource and may change."""
    name_parameter = NAME_PARAMETER[request.operation]
    describe = getattr(sagemaker, xform_name(request.operation.replace("Create", "Describe")))
    try:
        describe(**{name_parameter: request.parameters[name_parameter]})
    except ClientError as error:
        if is_missing(error):
            return False
        raise
    return True


def _has_moved_on(sagemaker: SageMakerClient, settings: Settings, before: Endpoint | None) -> bool:
    now = describe_endpoint(sagemaker, settings)
    if before is None or now is None:
        return (before is None) != (now is None)
    return (before.status, before.config_name) != (now["EndpointStatus"], now["EndpointConfigName"])
