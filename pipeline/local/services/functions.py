"""Lambda: invoke, and look at, the functions that were handed in."""

from __future__ import annotations

import base64
import json

from pipeline.local.account import Account, answers
from pipeline.local.delivery import deliver_in_background
from pipeline.local.errors import ServiceError
from pipeline.local.functions import run_function
from pipeline.local.services.s3 import stream
from pipeline.local.store import Document

LOG_TAIL_BYTES = 4096


@answers("lambda:GetFunction")
def get_function(account: Account, request: Document) -> Document:
    name, function = account.function(request["FunctionName"])
    configuration = {
        "FunctionName": name,
        "FunctionArn": account.arn("lambda", f"function:{name}"),
        "Handler": function.handler,
        "Timeout": function.timeout_s,
        "Environment": {"Variables": dict(function.environment)},
        "State": "Active",
        "LastUpdateStatus": "Successful",
    }
    return {"Configuration": configuration, **configuration}


@answers("lambda:GetFunctionConfiguration")
def get_function_configuration(account: Account, request: Document) -> Document:
    return get_function(account, request)


@answers("lambda:ListFunctions")
def list_functions(account: Account, request: Document) -> Document:
    names = account.configuration["functions"]
    return {"Functions": [get_function(account, {"FunctionName": name}) for name in names]}


@answers("lambda:Invoke")
def invoke(account: Account, request: Document) -> Document:
    name, _ = account.function(request["FunctionName"])
    payload = stream(request.get("Payload") or b"{}").read()
    try:
        event = json.loads(payload or b"{}")
    except ValueError as error:
        message = f"Could not parse request body into json: {error}"
        raise ServiceError("InvalidRequestContentException", message) from error
    kind = request.get("InvocationType", "RequestResponse")
    if kind == "DryRun":
        return {"StatusCode": 204}
    if kind == "Event":
        account.store.enqueue(name, event)
        deliver_in_background(account)
        return {"StatusCode": 202}
    outcome = run_function(account, name, payload or b"{}")
    answer: Document = {
        "StatusCode": 200,
        "ExecutedVersion": "$LATEST",
        "Payload": outcome.payload_stream(),
    }
    if outcome.error:
        answer["FunctionError"] = outcome.error
    if request.get("LogType") == "Tail":
        answer["LogResult"] = base64.b64encode(outcome.log[-LOG_TAIL_BYTES:]).decode()
    return answer
