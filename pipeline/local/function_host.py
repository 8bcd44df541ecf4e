"""The inside of a function's process: `python -m pipeline.local.function_host HANDLER`.

Reads the event from a file of its working directory, makes the account (where it is told the home)
the default boto3 session, calls the handler, and writes `{"payload": ..., "error": ...}` to another
file.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EVENT, RESULT = "event.json", "result.json"
HOME_VARIABLE = "LOCAL_ACCOUNT_HOME"


@dataclass(frozen=True)
class Context:
    """The context object that AWS Lambda hands to a Python handler."""

    function_name: str
    aws_request_id: str
    invoked_function_arn: str
    deadline: float
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 512
    log_group_name: str = ""
    log_stream_name: str = ""
    identity: None = None
    client_context: None = None
    started: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.deadline - time.monotonic()) * 1000))


def main(handler: str) -> None:
    result = Path(RESULT).absolute()
    event = json.loads(Path(EVENT).read_bytes())
    environment = os.environ
    try:
        if HOME_VARIABLE in environment:
            import boto3

            from pipeline.local.account import open_account

            boto3.DEFAULT_SESSION = open_account(Path(environment[HOME_VARIABLE])).session()
        name = environment["AWS_LAMBDA_FUNCTION_NAME"]
        context = Context(
            function_name=name,
            aws_request_id=environment["LOCAL_ACCOUNT_REQUEST_ID"],
            invoked_function_arn=environment["LOCAL_ACCOUNT_FUNCTION_ARN"],
            deadline=time.monotonic() + float(environment["LOCAL_ACCOUNT_TIMEOUT_S"]),
            log_group_name=f"/aws/lambda/{name}",
            log_stream_name=environment["LOCAL_ACCOUNT_REQUEST_ID"],
        )
        module, _, attribute = handler.rpartition(".")
        answer: dict[str, Any] = {
            "payload": getattr(importlib.import_module(module), attribute)(event, context)
        }
        text = json.dumps(answer)
    except Exception as error:  # a handler may raise anything: it is the answer, as on AWS
        traceback.print_exc()
        text = json.dumps(
            {
                "error": "Unhandled",
                "payload": {
                    "errorType": type(error).__name__,
                    "errorMessage": str(error),
                    "stackTrace": traceback.format_tb(error.__traceback__),
                },
            }
        )
    result.write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
