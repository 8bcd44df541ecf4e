"""Models, endpoint configurations, endpoints, and the runtime that invokes them."""

from __future__ import annotations

import io
import time

from botocore.response import StreamingBody

from pipeline.local.account import Account, answers
from pipeline.local.endpoints import ensure_running, invoke, is_unfinished
from pipeline.local.errors import ServiceError, not_found
from pipeline.local.services.listing import page
from pipeline.local.services.registry import package_container
from pipeline.local.services.s3 import stream
from pipeline.local.services.tags import tag, untag
from pipeline.local.store import Document


@answers("sagemaker:CreateModel")
def create_model(account: Account, request: Document) -> Document:
    name = request["ModelName"]
    arn = account.arn("sagemaker", f"model/{name}")
    container = request.get("PrimaryContainer") or (request.get("Containers") or [{}])[0]
    if "ModelPackageName" in container:
        package_container(account, container["ModelPackageName"])
    elif "Image" not in container:
        raise ServiceError(
            "ValidationException", f"model {name} needs an Image or ModelPackageName"
        )
    _create(account, "model", name, {**request, "ModelArn": arn})
    tag(account, arn, request)
    return {"ModelArn": arn}


def _create(account: Account, kind: str, name: str, document: Document) -> None:
    with account.store.transaction():
        if account.store.get(kind, name):
            arn = account.arn("sagemaker", f"{kind}/{name}")
            raise ServiceError(
                "ValidationException", f'Cannot create already existing {kind} "{arn}".'
            )
        account.store.put(kind, name, {"CreationTime": time.time(), **document})


def _delete(account: Account, kind: str, name: str) -> Document:
    _describe(account, kind, name)
    with account.store.transaction():
        account.store.delete(kind, name)
        untag(account, account.arn("sagemaker", f"{kind}/{name}"))
    return {}


def _describe(account: Account, kind: str, name: str) -> Document:
    document = account.store.get(kind, name)
    if document is None:
        raise not_found(kind, account.arn("sagemaker", f"{kind}/{name}"))
    return document


@answers("sagemaker:DescribeModel")
def describe_model(account: Account, request: Document) -> Document:
    return _describe(account, "model", request["ModelName"])


@answers("sagemaker:ListModels")
def list_models(account: Account, request: Document) -> Document:
    return page(account.store.rows("model"), request, member="Models", name="ModelName")


@answers("sagemaker:DeleteModel")
def delete_model(account: Account, request: Document) -> Document:
    return _delete(account, "model", request["ModelName"])


@answers("sagemaker:CreateEndpointConfig")
def create_endpoint_config(account: Account, request: Document) -> Document:
    name = request["EndpointConfigName"]
    arn = account.arn("sagemaker", f"endpoint-config/{name}")
    for variant in request["ProductionVariants"]:
        _describe(account, "model", variant["ModelName"])
    _create(account, "endpoint-config", name, {**request, "EndpointConfigArn": arn})
    tag(account, arn, request)
    return {"EndpointConfigArn": arn}


@answers("sagemaker:DescribeEndpointConfig")
def describe_endpoint_config(account: Account, request: Document) -> Document:
    return _describe(account, "endpoint-config", request["EndpointConfigName"])


@answers("sagemaker:ListEndpointConfigs")
def list_endpoint_configs(account: Account, request: Document) -> Document:
    rows = account.store.rows("endpoint-config")
    return page(rows, request, member="EndpointConfigs", name="EndpointConfigName")


@answers("sagemaker:DeleteEndpointConfig")
def delete_endpoint_config(account: Account, request: Document) -> Document:
    return _delete(account, "endpoint-config", request["EndpointConfigName"])


@answers("sagemaker:CreateEndpoint")
def create_endpoint(account: Account, request: Document) -> Document:
    name, config = request["EndpointName"], request["EndpointConfigName"]
    _describe(account, "endpoint-config", config)
    arn = account.arn("sagemaker", f"endpoint/{name}")
    document = {
        "EndpointName": name,
        "EndpointArn": arn,
        "EndpointConfigName": config,
        "WantedConfigName": config,
        "EndpointStatus": "Creating",
        "LastModifiedTime": time.time(),
    }
    _create(account, "endpoint", name, document)
    tag(account, arn, request)
    ensure_running(account, name)
    return {"EndpointArn": arn}


@answers("sagemaker:UpdateEndpoint")
def update_endpoint(account: Account, request: Document) -> Document:
    name, config = request["EndpointName"], request["EndpointConfigName"]
    _describe(account, "endpoint-config", config)

    def change(endpoint: Document) -> Document:
        if is_unfinished(endpoint):
            raise ServiceError(
                "ValidationException",
                f'Cannot update in-progress endpoint "{endpoint["EndpointArn"]}".',
            )
        return {
            **endpoint,
            "WantedConfigName": config,
            "EndpointStatus": "Updating",
            "LastModifiedTime": time.time(),
            "FailureReason": None,
        }

    if account.store.change("endpoint", name, change) is None:
        raise not_found("endpoint", account.arn("sagemaker", f"endpoint/{name}"))
    ensure_running(account, name)
    return {"EndpointArn": account.arn("sagemaker", f"endpoint/{name}")}


def _variant_summary(variant: Document, desired: Document) -> Document:
    weight = desired.get("DesiredWeight", variant.get("InitialVariantWeight", 1.0))
    count = desired.get("DesiredInstanceCount", variant.get("InitialInstanceCount"))
    return {
        "VariantName": variant["VariantName"],
        "CurrentWeight": weight,
        "DesiredWeight": weight,
        "CurrentInstanceCount": count,
        "DesiredInstanceCount": count,
        "CurrentServerlessConfig": variant.get("ServerlessConfig"),
    }


@answers("sagemaker:DescribeEndpoint")
def describe_endpoint(account: Account, request: Document) -> Document:
    endpoint = _describe(account, "endpoint", request["EndpointName"])
    if is_unfinished(endpoint):  # whoever worked on it may have been killed
        ensure_running(account, endpoint["EndpointName"])
    config = account.store.get("endpoint-config", endpoint["EndpointConfigName"]) or {}
    desired = endpoint.get("DesiredWeights", {})
    variants = [
        _variant_summary(variant, desired.get(variant["VariantName"], {}))
        for variant in config.get("ProductionVariants", [])
    ]
    return {**endpoint, "ProductionVariants": variants}


@answers("sagemaker:ListEndpoints")
def list_endpoints(account: Account, request: Document) -> Document:
    return page(
        account.store.rows("endpoint"),
        request,
        member="Endpoints",
        name="EndpointName",
        status="EndpointStatus",
    )


@answers("sagemaker:UpdateEndpointWeightsAndCapacities")
def update_endpoint_weights_and_capacities(account: Account, request: Document) -> Document:
    name = request["EndpointName"]
    endpoint = _describe(account, "endpoint", name)
    variants = describe_endpoint(account, request)["ProductionVariants"]
    known = {item["VariantName"] for item in variants}
    wanted = {item["VariantName"]: item for item in request["DesiredWeightsAndCapacities"]}
    for variant in wanted.keys() - known:
        raise ServiceError("ValidationException", f'Variant "{variant}" is not in the endpoint.')
    account.store.change(
        "endpoint",
        name,
        lambda item: {
            **item,
            "DesiredWeights": {**item.get("DesiredWeights", {}), **wanted},
            "LastModifiedTime": time.time(),
        },
    )
    return {"EndpointArn": endpoint["EndpointArn"]}


@answers("sagemaker:DeleteEndpoint")
def delete_endpoint(account: Account, request: Document) -> Document:
    return _delete(account, "endpoint", request["EndpointName"])  # its supervisor sees it and ends


@answers("sagemaker-runtime:InvokeEndpoint")
def invoke_endpoint(account: Account, request: Document) -> Document:
    name = request["EndpointName"]
    if account.store.get("endpoint", name) is None:
        raise ServiceError("ValidationError", f"Endpoint {name} of account {account.id} not found.")
    body, content_type = invoke(
        account,
        name,
        stream(request.get("Body", b"")).read(),
        content_type=request.get("ContentType", "application/octet-stream"),
        accept=request.get("Accept", "*/*"),
    )
    return {
        "Body": StreamingBody(io.BytesIO(body), len(body)),
        "ContentType": content_type,
        "InvokedProductionVariant": "AllTraffic",
    }
