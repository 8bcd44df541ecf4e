"""Endpoints: one server process each, watched by a supervisor and swapped when the new is healthy.

`python -m pipeline.local.endpoints HOME NAME` is the supervisor. It brings the endpoint from the
configuration it serves to the one that is wanted: start the new server beside the old, wait for
`/ping`, switch, stop the old. A new one that never becomes healthy is rolled back, as on AWS. It
restarts a server that dies, and ends, server and all, after a time without requests; the next
request starts it again. So an endpoint's state survives the end of every process.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipeline.local.containers import ML, container_environment
from pipeline.local.errors import LocalAccountError, ServiceError
from pipeline.local.launch import GRACE_S
from pipeline.local.objects import split_uri
from pipeline.local.processes import release_inherited_lock, spawn

if TYPE_CHECKING:
    from pipeline.local.account import Account

Document = dict[str, Any]
HOST = "127.0.0.1"
HEALTHY_WITHIN_S = float(os.environ.get("LOCAL_ACCOUNT_HEALTHY_WITHIN_S", "60"))
IDLE_S = float(os.environ.get("LOCAL_ACCOUNT_IDLE_S", "600"))
INVOKE_TIMEOUT_S = 60.0
POLL_S = 0.1
MODEL_LIMIT_BYTES = 4 << 30
UNFINISHED = ("Creating", "Updating")


def is_unfinished(endpoint: Document) -> bool:
    return endpoint["EndpointStatus"] in UNFINISHED


def _folder(account: Account, name: str) -> Path:
    return account.home / "endpoints" / name


def ensure_running(account: Account, name: str) -> None:
    """Start the endpoint's supervisor unless it is at work."""
    spawn(
        "pipeline.local.endpoints",
        [str(account.home), name],
        lock=account.home / "locks" / f"endpoint-{name}",
        log=account.home / "logs" / "local" / "endpoints.log",
    )


# -- invoking


def invoke(
    account: Account, name: str, body: bytes, *, content_type: str, accept: str
) -> tuple[bytes, str]:
    """Send a request to the endpoint's server, starting it if need be: body and content type.

    A request that a dying server dropped is sent once more, and only once: it may be what it
    died of.
    """
    headers = {"Content-Type": content_type, "Accept": accept}
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    dropped = False
    while True:
        endpoint = account.store.get("endpoint", name)
        if endpoint is None or endpoint["EndpointStatus"] == "Failed":
            raise ServiceError("ValidationError", f"Endpoint {name} does not serve")
        port = endpoint.get("Port")
        if port:
            try:
                status, answer, kind = _post(port, body, headers)
                break
            except ConnectionRefusedError:
                pass  # the server is gone; the supervisor brings it back
            except OSError as error:
                if dropped or not isinstance(error, ConnectionError):
                    raise ServiceError(
                        "ModelError", f"the model container did not answer: {error}", 424
                    ) from error
                dropped = True
        if time.monotonic() > deadline:
            raise ServiceError("ServiceUnavailable", f"Endpoint {name} did not become ready", 503)
        ensure_running(account, name)
        time.sleep(POLL_S)
    _touch(account, name)
    if status != 200:
        text = answer.decode(errors="replace")
        raise ServiceError(
            "ModelError",
            f'Received client error ({status}) from primary with message "{text}"',
            424,
        )
    return answer, kind


def _post(port: int, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=INVOKE_TIMEOUT_S)
    try:
        connection.request("POST", "/invocations", body, headers)
        response = connection.getresponse()
        kind = response.getheader("Content-Type") or "application/octet-stream"
        return response.status, response.read(), kind
    finally:
        connection.close()


def _touch(account: Account, name: str) -> None:
    _folder(account, name).mkdir(parents=True, exist_ok=True)
    (_folder(account, name) / "last-request").touch()


# -- model data


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
    """Unpack model.tar.gz. Only plain files and folders inside the target are accepted."""
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


# -- the supervisor


@dataclass
class Server:
    """A running server: which configuration it serves, where, and its launcher."""

    config: str
    port: int
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Ask it to end (requests in flight finish), and make sure it has."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(GRACE_S + 5)
        except subprocess.TimeoutExpired:
            self.process.kill()

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


class Supervisor:
    """Brings one endpoint to its wanted configuration and keeps it there."""

    def __init__(self, account: Account, name: str) -> None:
        self.account = account
        self.name = name
        self.server: Server | None = None
        self.failures = 0

    def start_server(self, config_name: str) -> Server:
        """Start a server for a configuration and wait until it is healthy."""
        config = self.account.store.get("endpoint-config", config_name)
        if config is None:
            raise LocalAccountError(f"endpoint configuration {config_name} does not exist")
        model_name = config["ProductionVariants"][0]["ModelName"]
        container = model_container(self.account, model_name)
        image = self.account.image(container["Image"])
        folder = _folder(self.account, self.name) / f"{config_name}-{os.urandom(4).hex()}"
        model = folder / "ml" / "model"
        model.mkdir(parents=True)
        if container.get("ModelDataUrl"):
            bucket, key = split_uri(container["ModelDataUrl"])
            unpack(self.account.objects.entry(bucket, key).path, model)
        port = _free_port()
        environment = container_environment(
            self.account,
            image.environment,
            container["Environment"],
            {"SAGEMAKER_BIND_TO_PORT": port, "SAGEMAKER_BIND_TO_HOST": HOST},
        )

        def remap(value: str) -> str:
            return value.replace(ML, str(folder / "ml"))

        log = self.account.log_file(f"/aws/sagemaker/Endpoints/{self.name}", folder.name)
        launcher = Path(__file__).with_name("launch.py")
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - the command is the container's own
                [sys.executable, "-S", str(launcher), str(folder / "usage.json"), "",
                 *map(remap, image.entrypoint)],
                stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=folder,
                env={key: remap(value) for key, value in environment.items()},
                start_new_session=True,
            )  # fmt: skip
        server = Server(config_name, port, process)
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while not server.is_healthy():
            if not server.is_alive() or time.monotonic() > deadline:
                server.stop()
                raise LocalAccountError(f"the server never became healthy; its log is {log}")
            time.sleep(POLL_S)
        return server

    def converge(self, endpoint: Document) -> None:
        """Serve what is wanted, or roll back and say why."""
        wanted = endpoint["WantedConfigName"]
        try:
            new = self.start_server(wanted)
        except (LocalAccountError, OSError, tarfile.TarError) as error:
            self._roll_back(wanted, str(error))
            return
        old, self.server = self.server, new
        self.failures = 0
        self._settle(wanted, {"EndpointConfigName": wanted, "EndpointStatus": "InService",
                              "Port": new.port, "FailureReason": None})  # fmt: skip
        if old:
            old.stop()
        self._clean()

    def _roll_back(self, wanted: str, reason: str) -> None:
        """Keep the old configuration; an endpoint that never served anything has failed."""
        self.failures += 1

        def change(endpoint: Document) -> Document | None:
            if endpoint["WantedConfigName"] != wanted:
                return None
            serving = endpoint["EndpointConfigName"]
            first = endpoint["EndpointStatus"] == "Creating"
            if wanted == serving and not first:  # a restart failed, not an update
                return None
            return {
                **endpoint,
                "WantedConfigName": serving,
                "EndpointStatus": "Failed" if first else "InService",
                "FailureReason": reason,
                "LastModifiedTime": time.time(),
            }

        self._change_and_tell(change)

    def _settle(self, wanted: str, fields: Document) -> None:
        def change(endpoint: Document) -> Document:
            if endpoint["WantedConfigName"] != wanted:  # wanted something else meanwhile
                return {**endpoint, "Port": fields["Port"], "EndpointConfigName": wanted}
            ended = is_unfinished(endpoint)
            stamp = {"LastModifiedTime": time.time()} if ended else {}
            return {**endpoint, **fields, **stamp}

        self._change_and_tell(change)

    def _change_and_tell(self, change: Any) -> None:
        """Change the endpoint's state and emit the event that AWS emits when an update ended."""
        from pipeline.local.delivery import deliver_in_background
        from pipeline.local.services.events import emit

        with self.account.store.transaction():
            before = self.account.store.get("endpoint", self.name)
            after = self.account.store.change("endpoint", self.name, change)
            if before and after and is_unfinished(before) and not is_unfinished(after):
                emit(
                    self.account,
                    source="aws.sagemaker",
                    detail_type="SageMaker Endpoint State Change",
                    detail={
                        "EndpointName": self.name,
                        "EndpointArn": after["EndpointArn"],
                        "EndpointConfigName": after["EndpointConfigName"],
                        "EndpointStatus": "IN_SERVICE"
                        if after["EndpointStatus"] == "InService"
                        else "FAILED",
                    },
                    arn=after["EndpointArn"],
                )
        deliver_in_background(self.account)

    def _clean(self) -> None:
        """Delete the unpacked models of servers that are gone."""
        keep = self.server.config if self.server else ""
        for path in _folder(self.account, self.name).iterdir():
            if path.is_dir() and not path.name.startswith(f"{keep}-"):
                shutil.rmtree(path, ignore_errors=True)

    def _is_idle(self) -> bool:
        mark = _folder(self.account, self.name) / "last-request"
        return not mark.exists() or time.time() - mark.stat().st_mtime > IDLE_S

    def run(self) -> None:
        """Supervise until the endpoint or its home is deleted, it fails for good, or is idle."""
        _touch(self.account, self.name)
        try:
            while True:
                endpoint = self.account.store.get("endpoint", self.name)
                if endpoint is None or not self.account.store.path.exists():
                    shutil.rmtree(_folder(self.account, self.name), ignore_errors=True)
                    return
                if self.server and not self.server.is_alive():
                    self.server = None
                if endpoint["EndpointStatus"] == "Failed" or self.failures > 3:
                    return
                serving = self.server.config if self.server else None
                if serving != endpoint["WantedConfigName"]:
                    self.converge(endpoint)
                elif self._is_idle():
                    return
                else:
                    time.sleep(POLL_S)
        finally:
            if self.server:
                self.server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def main(home: str, name: str) -> None:
    from pipeline.local.account import open_account

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    account = open_account(Path(home))
    try:
        Supervisor(account, name).run()
    finally:
        release_inherited_lock()
        endpoint = account.store.get("endpoint", name)
        if endpoint and is_unfinished(endpoint):  # asked for while this process ended
            ensure_running(account, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
