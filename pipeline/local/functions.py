"""Runs a Lambda function: a process of its own per invocation, with the account as its AWS.

It stands behind the launcher, as a job does: when whoever invoked it is killed, it ends too. In
strict mode it sees what a function sees on AWS: a temporary folder of its own, all else read-only,
and the account over the network only.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.response import StreamingBody

from pipeline.local import sandbox
from pipeline.local.clients import aws_clients
from pipeline.local.containers import LAUNCHER
from pipeline.local.function_host import EVENT, HOME_VARIABLE, RESULT
from pipeline.local.launch import GRACE_VARIABLES, end_rest
from pipeline.local.processes import PACKAGE_ROOT, acquire, held

if TYPE_CHECKING:
    from pipeline.local.account import Account, Function

FOLDER, RECORD = "function-", "usage.json"


@dataclass(frozen=True)
class Outcome:
    """What an invocation gave: the payload, `Unhandled` when it is an error's, and the log."""

    payload: bytes
    error: str | None
    log: bytes

    def payload_stream(self) -> StreamingBody:
        return StreamingBody(io.BytesIO(self.payload), len(self.payload))


def run_function(account: Account, name: str, payload: bytes) -> Outcome:
    """Invoke a function and wait for it, at most its timeout."""
    short, function = account.function(name)
    request_id = str(uuid.uuid4())
    log_file = account.log_file(f"/aws/lambda/{short}", request_id)
    with (
        _folder(account) as folder,
        log_file.open("w+b") as log,
        aws_clients(account) as clients,
    ):
        (folder / EVENT).write_bytes(payload)
        command = [sys.executable, "-m", "pipeline.local.function_host", function.handler]
        if sandbox.is_strict():
            command = sandbox.command_line(command, temporary=str(folder))
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-S", str(LAUNCHER), str(folder / RECORD), "", *command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=clients | _environment(account, short, function, request_id),
            cwd=folder,
            start_new_session=True,
        )
        answer = _answer(process, folder / RESULT, function.timeout_s)
        end_rest(str(folder / RECORD))
        log.seek(0)
        text = log.read()
    return Outcome(json.dumps(answer["payload"]).encode(), answer.get("error"), text)


@contextmanager
def _folder(account: Account) -> Iterator[Path]:
    """A folder for an invocation, whose lock is held for as long as its caller lives."""
    account.objects.temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=FOLDER, dir=account.objects.temporary) as name:
        folder = Path(name)
        with held(_lock(account, folder), what=folder.name):
            yield folder
            _lock(account, folder).unlink(missing_ok=True)


def _lock(account: Account, folder: Path) -> Path:
    return account.home / "locks" / folder.name


def clear(account: Account) -> None:
    """End what functions left running whose caller was killed, and free their folders."""
    for record in account.objects.temporary.glob(f"{FOLDER}*/{RECORD}.group"):
        folder = record.parent
        descriptor = acquire(_lock(account, folder), within_s=0)
        if descriptor is None:  # its caller waits for it
            continue
        try:
            end_rest(str(folder / RECORD))
            shutil.rmtree(folder, ignore_errors=True)
            _lock(account, folder).unlink(missing_ok=True)  # while it is held: see `acquire`
        finally:
            os.close(descriptor)


def _environment(
    account: Account, name: str, function: Function, request_id: str
) -> dict[str, str]:
    # Where the home is read-only, nothing is to be answered from it in the function's process.
    home = {} if sandbox.is_strict() else {HOME_VARIABLE: str(account.home)}
    return {
        **function.environment,
        **home,
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join((str(function.path), str(PACKAGE_ROOT))),
        "PYTHONUNBUFFERED": "1",
        "AWS_REGION": account.region,
        "AWS_DEFAULT_REGION": account.region,
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "LOCAL_ACCOUNT_FUNCTION_ARN": account.arn("lambda", f"function:{name}"),
        "LOCAL_ACCOUNT_REQUEST_ID": request_id,
        "LOCAL_ACCOUNT_TIMEOUT_S": str(function.timeout_s),
        GRACE_VARIABLES[0]: "0",  # AWS gives a function no time after its timeout
    }


def _answer(process: subprocess.Popen[bytes], result: Path, timeout_s: float) -> dict[str, Any]:
    """What the function said, or why it said nothing; its process has ended."""
    with process:
        try:
            # Not `communicate`: it would close the pipe, which tells the launcher to end.
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return _failure("Sandbox.Timedout", f"Task timed out after {timeout_s} s")
    if result.exists():
        answer: dict[str, Any] = json.loads(result.read_text())
        return answer
    return _failure("Runtime.ExitError", f"Runtime exited with status {status}")


def _failure(kind: str, message: str) -> dict[str, Any]:
    return {"error": "Unhandled", "payload": {"errorType": kind, "errorMessage": message}}
