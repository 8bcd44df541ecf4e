"""The account for AWS clients in jobs, functions and model servers, by their environment.

On AWS these have the credentials of their role; here they have the account's key and an address on
the loopback interface. What listens there costs nothing until it is asked: the HTTP server and the
wire formats are loaded then.
"""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.local.objects import write_atomically
from pipeline.local.signatures import client_variables

if TYPE_CHECKING:
    from pipeline.local.account import Account

HOST = "127.0.0.1"
POLL_S = 0.05
# The SageMaker SDK reports each use to AWS unless its configuration says not to.
# https://sagemaker.readthedocs.io/en/stable/overview.html, "Configuring and using defaults"
SDK_CONFIG: dict[str, Any] = {
    "SchemaVersion": "1.0",
    "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}},
}


@contextmanager
def aws_clients(account: Account) -> Iterator[dict[str, str]]:
    """Variables with which any AWS client reaches the account for as long as this is entered."""
    ended, wake = socket.socketpair()
    with socket.create_server((HOST, 0)) as listener, ended, wake:
        thread = threading.Thread(target=_serve, args=(account, listener, ended), daemon=True)
        thread.start()
        try:
            yield {
                **client_variables(
                    account.credentials,
                    f"http://{HOST}:{listener.getsockname()[1]}",
                    account.region,
                ),
                "AWS_EC2_METADATA_DISABLED": "true",
                "SAGEMAKER_ADMIN_CONFIG_OVERRIDE": _sdk_config(account),
            }
        finally:
            wake.send(b"x")
            thread.join()


def _serve(account: Account, listener: socket.socket, ended: socket.socket) -> None:
    """Wait for the first request, then answer until it is over."""
    ready, _, _ = select.select([listener, ended], [], [])
    if ended in ready:
        return
    from pipeline.local.http_api import serve

    server: Any = serve(account, listener)
    answering = threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True)
    answering.start()
    ended.recv(1)
    server.shutdown()
    answering.join()
    server.server_close()


def _sdk_config(account: Account) -> str:
    """A file that keeps the SageMaker SDK in a job from reporting to AWS."""
    path = account.home / "sagemaker-sdk.json"
    if not path.exists():
        write_atomically(path, json.dumps(SDK_CONFIG).encode(), account.home / "tmp")
    return str(path)
