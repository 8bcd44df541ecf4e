"""The server process of a model: the serving container's contract on this machine.

Its command, environment and model data come from the model (and its package); it answers
`GET /ping` when it is ready and `POST /invocations`. Endpoints and transform jobs start it.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipeline.local.containers import (
    LAUNCHER,
    ML,
    container_environment,
    free_port,
    remap,
    sandboxed,
)
from pipeline.local.errors import LocalAccountError
from pipeline.local.launch import GRACE_S, end_rest
from pipeline.local.objects import split_uri
from pipeline.local.sandbox import is_strict

if TYPE_CHECKING:
    from pipeline.local.account import Account

Document = dict[str, Any]
HOST = "127.0.0.1"
HEALTHY_WITHIN_S = float(os.environ.get("LOCAL_ACCOUNT_HEALTHY_WITHIN_S", "60"))
INVOKE_TIMEOUT_S = 60.0
POLL_S = 0.1
MODEL_LIMIT_BYTES = 4 << 30


def model_container(account: Account, model_name: str) -> Document:
    """Image, model data and environment of a model, its package's and its own merged."""
    from pipeline.local.services.registry import package_container

    model = account.store.get("model", model_name)
    if model is None:
        raise LocalAccountError(f"model {model_name} does not exist")
    own = model.get("PrimaryContainer") or model["Containers"][0]
    base = package_container(account, own["ModelPackageName"]) if "ModelPackageName" in own else {}
    environment = {**base.get("Environment", {}), **own.get("Environment", {})}
    return {**base, **own, "Environment": environment}


def unpack(archive: Path, target: Path) -> None:
    """Unpack model.tar.gz. Only plain files and folders inside the target are accepted.

    Raises LocalAccountError for any other archive, and one that is damaged or cut short.
    """
    try:
        _unpack(archive, target)
    except (EOFError, zlib.error, tarfile.TarError) as error:
        raise LocalAccountError(f"{archive.name} is not a whole tar.gz: {error}") from error


def _unpack(archive: Path, target: Path) -> None:
    total = 0
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            parts = Path(member.name).parts
            if not (member.isreg() or member.isdir()) or ".." in parts or member.name[:1] == "/":
                raise LocalAccountError(f"{archive.name} has an unsafe member: {member.name}")
            total += member.size
            if total > MODEL_LIMIT_BYTES:
                raise LocalAccountError(f"{archive.name} unpacks to more than allowed")
            path = target.joinpath(*parts)
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            source: IO[bytes] | None = tar.extractfile(member)
            if source is None:
                raise LocalAccountError(f"{archive.name}: cannot read {member.name}")
            with source, path.open("xb") as file:
                shutil.copyfileobj(source, file)


def post(
    port: int, body: bytes, headers: dict[str, str], timeout_s: float = INVOKE_TIMEOUT_S
) -> tuple[int, bytes, str]:
    """Send a request to `/invocations`: status, body and content type of the answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request("POST", "/invocations", body, headers)
        response = connection.getresponse()
        kind = response.getheader("Content-Type") or "application/octet-stream"
        return response.status, response.read(), kind
    finally:
        connection.close()


@dataclass
class Server:
    """A running server: which configuration it serves, where, its launcher and its record."""

    config: str
    port: int
    process: subprocess.Popen[bytes]
    record: Path

    def stop(self) -> None:
        """Ask it to end (requests in flight finish), and make sure it has."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(GRACE_S + 5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        end_rest(str(self.record))

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def is_healthy(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _place_model(account: Account, container: Document, folder: Path) -> None:
    folder.mkdir(parents=True)
    if container.get("ModelDataUrl"):
        bucket, key = split_uri(container["ModelDataUrl"])
        unpack(account.objects.entry(bucket, key).path, folder)


def start_server(
    account: Account,
    config: str,
    model_name: str,
    folder: Path,
    log: Path,
    overrides: Mapping[str, Any] | None = None,
) -> Server:
    """Start a model's server in `folder` and wait until it is healthy.

    Raises LocalAccountError when it ends or is not healthy in time.
    """
    container = model_container(account, model_name)
    image = account.image(container["Image"])
    ml = folder / "ml"
    _place_model(account, container, ml / "model")
    port = free_port()
    environment = container_environment(
        account,
        image.environment,
        container["Environment"],
        overrides or {},
        {"SAGEMAKER_BIND_TO_PORT": port, "SAGEMAKER_BIND_TO_HOST": HOST},
    )
    seen = Path(ML) if is_strict() else ml
    command = [remap(part, seen) for part in image.entrypoint]
    if is_strict():
        command = sandboxed(command, folder, ["algo-1"])
    record = folder / "usage.json"
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - the command is the container's own
            [sys.executable, "-S", str(LAUNCHER), str(record), "", *command],
            stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=folder,
            env={key: remap(value, seen) for key, value in environment.items()},
            start_new_session=True,
        )  # fmt: skip
    server = Server(config, port, process, record)
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    while not server.is_healthy():
        if not server.is_alive() or time.monotonic() > deadline:
            server.stop()
            raise LocalAccountError(f"the server never became healthy; its log is {log}")
        time.sleep(POLL_S)
    return server
