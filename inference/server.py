"""Serve one model version: `python -m inference.server --model-dir /opt/ml/model`."""

import argparse
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from inference.hooks import Hooks, load_hooks
from inference.service import MAX_BODY_BYTES, Service

_GRACE_S = 20  # SageMaker kills a container 30 s after it asked it to stop


@dataclass(frozen=True)
class ServerSettings:
    model_dir: Path = Path("/opt/ml/model")
    host: str = "0.0.0.0"  # noqa: S104  a container is reached through all of its addresses
    port: int = 8080
    program: str = "inference.py"
    model_version: str = "unknown"
    max_body_bytes: int = MAX_BODY_BYTES


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> ServerSettings:
    """Flags, then the environment that SageMaker sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    # SageMaker starts every container as `docker run IMAGE serve`
    parser.add_argument("command", nargs="?", choices=["serve"], help=argparse.SUPPRESS)
    defaults = ServerSettings()
    parser.add_argument("--model-dir", type=Path, default=defaults.model_dir)
    parser.add_argument("--host", default=defaults.host)
    parser.add_argument("--port", type=int, default=defaults.port)
    options = parser.parse_args(arguments)
    port = environ.get("SAGEMAKER_BIND_TO_PORT") or options.port
    try:
        return ServerSettings(
            model_dir=options.model_dir.resolve(),
            host=environ.get("SAGEMAKER_BIND_TO_HOST") or options.host,
            port=int(port),
            program=environ.get("SAGEMAKER_PROGRAM") or defaults.program,
            model_version=environ.get("MODEL_VERSION") or defaults.model_version,
            max_body_bytes=int(environ.get("MAX_BODY_BYTES") or defaults.max_body_bytes),
        )
    except ValueError:
        parser.error("SAGEMAKER_BIND_TO_PORT and MAX_BODY_BYTES must be whole numbers")


class JSONLines(logging.Formatter):
    """One JSON object a line: the event, when, and its details."""

    def format(self, record: logging.LogRecord) -> str:
        details: dict[str, Any] = getattr(record, "details", {})
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return json.dumps({"event": record.getMessage(), "time": f"{now}Z", **details})


def configure_logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines())
    logger = logging.getLogger("inference")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def serve(settings: ServerSettings) -> int:
    """Until asked to stop: 0; 1 when the version cannot be served or the port cannot be had."""
    try:
        listener = socket.create_server((settings.host, settings.port), backlog=2048)
    except (OSError, OverflowError) as error:  # the latter for a number that is no port
        reason = getattr(error, "strerror", None) or str(error)
        _say("bind_failed", port=settings.port, reason=reason)
        return 1
    # asyncio does this only for sockets that it opened itself; without it, a small answer waits
    # 40 ms for the client's acknowledgement
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    failures: list[str] = []

    def load() -> tuple[Hooks, Any]:
        hooks = load_hooks(settings.model_dir, settings.program)
        return hooks, hooks.model_fn(str(settings.model_dir))

    def failed() -> None:
        failures.append("load")
        server.should_exit = True

    service = Service(
        load,
        model_version=settings.model_version,
        max_body_bytes=settings.max_body_bytes,
        failed=failed,
    )
    server = uvicorn.Server(_uvicorn_config(service))
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises a signal again once it has stopped: let that, too, ask it to stop
        signal.signal(number, server.handle_exit)
    _say("listening", port=listener.getsockname()[1], model_version=settings.model_version)
    server.run(sockets=[listener])
    _say("stopped", model_version=settings.model_version)
    return 1 if failures else 0


def _uvicorn_config(service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        service.app,
        log_config=None,
        # uvicorn's own lines are plain text, and on errors tracebacks
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )


def _say(event: str, **details: Any) -> None:
    logging.getLogger("inference").info(event, extra={"details": details})


def main(arguments: Sequence[str], environ: MutableMapping[str, str]) -> int:
    # Read when torch is loaded, with the version. A review is hundreds of small multiplications,
    # one after the other: cores that share one wait for each other at every step, and on a busy
    # machine for a second (benchmarks/results/engines.json).
    environ.setdefault("OMP_NUM_THREADS", "1")
    configure_logging()
    return serve(parse(arguments, environ))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
