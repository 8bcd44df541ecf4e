"""Serves API and website on this machine, from one port, as CloudFront does on AWS."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Any

from pipeline.endpoint import Endpoint
from pipeline.errors import ServeError
from pipeline.target import Target


def bind(host: str, port: int) -> socket.socket:
    """A listening place at host and port, or ServeError if it cannot be had."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # asyncio does this only for sockets that it opened itself; without it, a small answer waits
    # 40 ms for the client's acknowledgement
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ServeError(
            f"cannot serve on {host}:{port}: {reason} (choose another: --port 8001)"
        ) from error
    return listener


def application(target: Target, root: Path) -> Any:
    """The ASGI application: the API's own code, with the target as its AWS, and the website."""
    import boto3

    # The functions take boto3's default session and their settings from the environment, as
    # they do in Lambda.
    boto3.DEFAULT_SESSION = target.session
    account = target.account
    os.environ |= {
        "ENDPOINT_NAME": account.endpoint_name,
        "FEEDBACK_BUCKET": account.bucket,
        "FEEDBACK_KEY": secrets.token_hex(),  # feedback is for verdicts since this start
    }
    functions = str(root / "lambda")
    if functions not in sys.path:
        sys.path.insert(0, functions)
    from predict_api.local import app
    from predict_api.site import Site

    def configuration() -> dict[str, Any]:
        served = Endpoint(target).served()
        version = str(served.version) if served and served.version else None
        return {"feedback": True, "model_version": version}

    return Site(app, root / "website", configuration)


def serve(target: Target, root: Path, listener: socket.socket) -> None:
    """Answer requests until interrupted."""
    import uvicorn

    config = uvicorn.Config(
        application(target, root), log_level="warning", access_log=False, server_header=False
    )
    uvicorn.Server(config).run(sockets=[listener])
