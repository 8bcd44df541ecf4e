"""`GET /ping` and `POST /invocations` over one model version."""

import asyncio
import logging
import os
import re
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import PurePath
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inference.accept import best
from inference.hooks import Hooks

CONTENT_TYPES = ("application/json", "application/jsonlines", "text/plain")
MAX_BODY_BYTES = 6 << 20  # what SageMaker lets through to a real-time endpoint
BODY_WITHIN_S = 10.0
MOST_AT_ONCE = 128  # requests that are read, wait or are judged: about a quarter of a second's
_REQUEST_ID = re.compile(r"[A-Za-z0-9._=-]{1,64}")
_CODES = {404: "not_found", 405: "method_not_allowed"}

log = logging.getLogger("inference")

LoadVersion = Callable[[], tuple[Hooks, Any]]


class Refusal(Exception):
    """An answer that is an error: status, code, and a message without any of the review."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Service:
    """Loads one version in the background, then answers for it."""

    def __init__(
        self,
        load: LoadVersion,
        *,
        model_version: str = "unknown",
        max_body_bytes: int = MAX_BODY_BYTES,
        body_within_s: float = BODY_WITHIN_S,
        most_at_once: int = MOST_AT_ONCE,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._load = load
        self._model_version = model_version
        self._max_body_bytes = max_body_bytes
        self._body_within_s = body_within_s
        self._failed = failed
        self._loaded: tuple[Hooks, Any] | None = None
        self._most_at_once = most_at_once
        self._under_way = 0
        # a core a request (see server.py): side by side, never waiting for each other
        threads = max(2, os.cpu_count() or 1)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self.app = Starlette(
            routes=[
                Route("/ping", self.ping, methods=["GET"]),
                Route("/invocations", self.invocations, methods=["POST"]),
            ],
            exception_handlers={HTTPException: _http_error},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        loading = asyncio.create_task(self._become_ready())
        yield
        loading.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _become_ready(self) -> None:
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        try:
            self._loaded = await loop.run_in_executor(self._executor, self._load)
        except Exception as error:
            # whatever a version's own code raises: this process cannot serve it
            self._log("load_failed", reason=str(error), error=_where(error))
            self._failed()
        else:
            self._log("ready", duration_ms=_since(started))

    async def ping(self, request: Request) -> Response:
        if self._loaded is None:
            return _error(Refusal(503, "not_ready", "the model is being loaded"))
        return Response(status_code=200)

    async def invocations(self, request: Request) -> Response:
        started = time.perf_counter()
        request_id = _request_id(request)
        details: dict[str, Any] = {}
        self._under_way += 1
        try:
            response = await self._answer(request, details)
        except Refusal as refusal:
            details["code"] = refusal.code
            response = _error(refusal)
        except ClientDisconnect:
            details["code"] = "client_gone"
            response = Response(status_code=499)
        except Exception as error:
            # from the version's own code; the caller learns no more than that it happened
            details |= {"code": "internal_error", "error": _where(error)}
            response = _error(Refusal(500, "internal_error", "the model could not answer"))
        finally:
            self._under_way -= 1
        response.headers["x-request-id"] = request_id
        self._log(
            "invocation",
            request_id=request_id,
            status=response.status_code,
            duration_ms=_since(started),
            **details,
        )
        return response

    async def _answer(self, request: Request, details: dict[str, Any]) -> Response:
        if self._loaded is None:
            raise Refusal(503, "not_ready", "the model is being loaded")
        hooks, model = self._loaded
        if self._under_way > self._most_at_once:
            raise Refusal(503, "busy", f"{self._most_at_once} requests are under way already")
        content_type = request.headers.get("content-type", "application/json")
        if _media_type(content_type) not in CONTENT_TYPES:
            message = f"content type must be one of: {', '.join(CONTENT_TYPES)}"
            raise Refusal(415, "unsupported_media_type", message)
        accept = _accepted(",".join(request.headers.getlist("accept")))
        try:
            body = await asyncio.wait_for(self._body(request), self._body_within_s)
        except TimeoutError as error:
            message = "the body did not come in time"
            raise Refusal(408, "request_timeout", message) from error
        details["size_bytes"] = len(body)
        work = partial(_predict, hooks, model, body, content_type, accept)
        loop = asyncio.get_running_loop()
        content, media_type, reviews = await loop.run_in_executor(self._executor, work)
        details["reviews"] = reviews
        return Response(content, media_type=media_type)

    async def _body(self, request: Request) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > self._max_body_bytes:
                message = f"the body may have {self._max_body_bytes} bytes"
                raise Refusal(413, "too_large", message)
            chunks.append(chunk)
        return b"".join(chunks)

    def _log(self, event: str, **details: Any) -> None:
        log.info(event, extra={"details": {"model_version": self._model_version, **details}})


def _predict(
    hooks: Hooks, model: Any, body: bytes, content_type: str, accept: str
) -> tuple[str | bytes, str, int]:
    try:
        data = hooks.input_fn(body, content_type)
    except ValueError as error:
        raise Refusal(400, "malformed", str(error)) from error
    content, media_type = hooks.output_fn(hooks.predict_fn(data, model), accept)
    return content, media_type, len(data)


def _accepted(accept: str) -> str:
    media_type = best(accept, CONTENT_TYPES)
    if media_type is None:
        message = f"accept must be one of: {', '.join(CONTENT_TYPES)}"
        raise Refusal(406, "not_acceptable", message)
    return media_type


def _media_type(value: str) -> str:
    return value.split(";")[0].strip().lower()


def _request_id(request: Request) -> str:
    """The caller's, if it is fit to be logged, else a new one."""
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _error(refusal: Refusal) -> Response:
    headers = {503: {"retry-after": "1"}, 408: {"connection": "close"}}.get(refusal.status)
    content = {"code": refusal.code, "message": refusal.message}
    return JSONResponse(content, status_code=refusal.status, headers=headers)


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = "there are GET /ping and POST /invocations"
    return _error(Refusal(status, _CODES.get(status, "http_error"), message))


def _where(error: BaseException) -> str:
    """Type and place of an error. Its message is left out: it may quote what it choked on."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return type(error).__name__ + place


def _since(started: float) -> float:
    return round(1000 * (time.perf_counter() - started), 2)
