"""Endpoints: one server process each, watched by a supervisor and swapped when the new is healthy.

`python -m pipeline.local.endpoints HOME NAME` is the supervisor. It brings the endpoint from the
configuration it serves to the one that is wanted: start the new server beside the old, wait for
`/ping`, switch, stop the old. A new one that never becomes healthy is rolled back, as on AWS. It
replaces a server that dies or no longer answers `/ping`, and ends, server and all, after a time
without requests; the next request starts it again. So an endpoint's state survives the end of
every process.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.local.account import READ_TIMEOUT_S
from pipeline.local.clients import aws_clients
from pipeline.local.containers import end_orphans
from pipeline.local.errors import AnswerTimeout, LocalAccountError, ServiceError
from pipeline.local.model_server import (
    HEALTHY_WITHIN_S,
    INVOKE_TIMEOUT_S,
    Server,
    post,
    start_server,
)
from pipeline.local.processes import release_inherited_lock, spawn

if TYPE_CHECKING:
    from pipeline.local.account import Account

Document = dict[str, Any]
IDLE_S = float(os.environ.get("LOCAL_ACCOUNT_IDLE_S", "600"))
POLL_S = 0.1
PING_EVERY_S = float(os.environ.get("LOCAL_ACCOUNT_PING_S", "1"))
MISSED_PINGS = 3  # one after the other; then the server is replaced
MAX_WAITING = 8  # requests of one process that wait for a server
_PLACES = threading.BoundedSemaphore(MAX_WAITING)
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

    While there is no server some requests wait for it, and more are refused at once, as by a
    serverless endpoint that wakes up. A request that a dying server dropped is sent once more,
    and only once: it may be what it died of. Raises AnswerTimeout when the answer takes longer
    than the client waits.
    """
    headers = {"Content-Type": content_type, "Accept": accept}
    timeout_s = min(READ_TIMEOUT_S.get(), INVOKE_TIMEOUT_S)
    started = time.monotonic()
    dropped = waits = False
    with ExitStack() as place:
        while True:
            try:
                left_s = timeout_s - (time.monotonic() - started)
                if left_s <= 0:
                    raise AnswerTimeout(name)
                answered = _ask(account, name, body, headers, left_s)
            except (ConnectionError, http.client.HTTPException) as error:
                if dropped:
                    raise _no_answer(error) from error
                answered, dropped = None, True
            if answered is not None:
                break
            if time.monotonic() - started > HEALTHY_WITHIN_S:
                raise _not_ready(name)
            if not waits:
                place.enter_context(_place_to_wait(name))
                waits = True
            ensure_running(account, name)
            time.sleep(POLL_S)
    _touch(account, name)
    status, answer, kind = answered
    if status != 200:
        raise _refusal(status, answer)
    return answer, kind


def _ask(
    account: Account, name: str, body: bytes, headers: dict[str, str], timeout_s: float
) -> tuple[int, bytes, str] | None:
    """Status, body and content type; None while no server listens.

    Raises what `http.client` does when the server dies of it, or with it.
    """
    endpoint = account.store.get("endpoint", name)
    if endpoint is None or endpoint["EndpointStatus"] == "Failed":
        raise ServiceError("ValidationError", f"Endpoint {name} does not serve")
    if not endpoint.get("Port"):
        return None
    _touch(account, name)  # an endpoint is not idle while it is asked
    try:
        return post(endpoint["Port"], body, headers, timeout_s)
    except ConnectionRefusedError:
        return None  # the server is gone; the supervisor brings it back
    except TimeoutError as error:
        raise AnswerTimeout(name) from error


def _refusal(status: int, answer: bytes) -> ServiceError:
    text = answer.decode(errors="replace")
    message = f'Received client error ({status}) from primary with message "{text}"'
    return ServiceError("ModelError", message, 424)


def _not_ready(name: str) -> ServiceError:
    return ServiceError("ServiceUnavailable", f"Endpoint {name} did not become ready", 503)


def _no_answer(error: Exception) -> ServiceError:
    return ServiceError("ModelError", f"the model container did not answer: {error}", 424)


@contextmanager
def _place_to_wait(name: str) -> Iterator[None]:
    """Held by a request that waits for a server; the first few get one."""
    if not _PLACES.acquire(blocking=False):
        raise ServiceError("ModelNotReadyException", f"Endpoint {name} is starting", 429)
    try:
        yield
    finally:
        _PLACES.release()


def _touch(account: Account, name: str) -> None:
    _folder(account, name).mkdir(parents=True, exist_ok=True)
    (_folder(account, name) / "last-request").touch()


# -- the supervisor


class Supervisor:
    """Brings one endpoint to its wanted configuration and keeps it there."""

    def __init__(self, account: Account, name: str, clients: dict[str, str]) -> None:
        self.account = account
        self.name = name
        self.clients = clients
        self.server: Server | None = None
        self.failures = 0
        self.missed_pings = 0
        self.pinged_at = time.monotonic()

    def start_server(self, config_name: str) -> Server:
        """Start a server for a configuration and wait until it is healthy."""
        config = self.account.store.get("endpoint-config", config_name)
        if config is None:
            raise LocalAccountError(f"endpoint configuration {config_name} does not exist")
        model_name = config["ProductionVariants"][0]["ModelName"]
        folder = _folder(self.account, self.name) / f"{config_name}-{os.urandom(4).hex()}"
        log = self.account.log_file(f"/aws/sagemaker/Endpoints/{self.name}", folder.name)
        return start_server(self.account, config_name, model_name, folder, log, self.clients)

    def converge(self, endpoint: Document) -> None:
        """Serve what is wanted, or roll back and say why."""
        wanted = endpoint["WantedConfigName"]
        try:
            new = self.start_server(wanted)
        except (LocalAccountError, OSError, tarfile.TarError) as error:
            self._roll_back(wanted, str(error))
            return
        old, self.server = self.server, new
        self.failures = self.missed_pings = 0
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
        """Delete the unpacked models of servers that are gone, of the same configuration too."""
        keep = self.server.record.parent if self.server else None
        for path in _folder(self.account, self.name).iterdir():
            if path.is_dir() and path != keep:
                shutil.rmtree(path, ignore_errors=True)

    def _is_idle(self) -> bool:
        mark = _folder(self.account, self.name) / "last-request"
        return not mark.exists() or time.time() - mark.stat().st_mtime > IDLE_S

    def _is_hung(self) -> bool:
        """The server has left several pings in a row unanswered; it is asked now and then."""
        if self.server and time.monotonic() - self.pinged_at > PING_EVERY_S:
            self.missed_pings = 0 if self.server.is_healthy() else self.missed_pings + 1
            self.pinged_at = time.monotonic()
        return self.missed_pings >= MISSED_PINGS

    def run(self) -> None:
        """Supervise until the endpoint or its home is deleted, it fails for good, or is idle."""
        _touch(self.account, self.name)
        end_orphans(_folder(self.account, self.name))  # of a supervisor that was killed
        try:
            while True:
                endpoint = self.account.store.get("endpoint", self.name)
                if endpoint is None or not self.account.store.path.exists():
                    shutil.rmtree(_folder(self.account, self.name), ignore_errors=True)
                    return
                if self.server and not self.server.is_alive():
                    self.server.stop()  # its launcher may have been killed, and not its workers
                    self.server = None
                if endpoint["EndpointStatus"] == "Failed" or self.failures > 3:
                    return
                serving = self.server.config if self.server else None
                if serving != endpoint["WantedConfigName"] or self._is_hung():
                    self.converge(endpoint)
                elif self._is_idle():
                    return
                else:
                    time.sleep(POLL_S)
        finally:
            if self.server:
                self.server.stop()


def main(home: str, name: str) -> None:
    from pipeline.local.account import open_account

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    account = open_account(Path(home))
    try:
        with aws_clients(account) as clients:
            Supervisor(account, name, clients).run()
    finally:
        release_inherited_lock()
        endpoint = account.store.get("endpoint", name)
        if endpoint and is_unfinished(endpoint):  # asked for while this process ended
            ensure_running(account, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
