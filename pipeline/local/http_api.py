"""The account over HTTP, for any AWS client: the AWS CLI, boto3 with AWS_ENDPOINT_URL, other SDKs.

Which service and operation a request is for, its arguments and the form of the answer are worked
out by moto's routers, parsers and serializers from botocore's service models; the answers are the
account's own, as in-process clients get them. It listens on the loopback interface only, and
answers what the account's key has signed (signatures.py).
"""

from __future__ import annotations

import re
import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.etree.ElementTree import ParseError

from botocore.utils import parse_timestamp
from botocore.validate import ParamValidator
from moto.core.errors import COMMON_ERROR_CODES
from moto.core.parse import PROTOCOL_PARSERS, RequestParserError
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import ServiceOperationRouter
from moto.core.serialize import SerializationContext, get_serializer_class
from moto.core.utils import get_service_model
from werkzeug.exceptions import NotFound
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

from pipeline.local.errors import LocalAccountError, ServiceError
from pipeline.local.shapes import check_names, shaped
from pipeline.local.signatures import REFUSALS, check_signature
from pipeline.local.wire import check_expiry, decode_body

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

    from pipeline.local.account import Account

HOST = "127.0.0.1"
CHUNK_BYTES = 1 << 20
SCOPE = re.compile(r"Credential=[^/,]+/\d{8}/[^/]*/([^/]+)/aws4_request")
# A browser's page that was rebound to this address names another host; a client of ours does not.
LOCAL_HOSTS = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
# Signing name of a service → its name in boto3, where they differ.
SIGNED_AS = {"monitoring": "cloudwatch"}

Document = dict[str, Any]
# Codes of ours that no service's model lists; moto warns of any other.
COMMON_ERROR_CODES += ["NotImplemented", "InternalFailure", "SerializationException"]
COMMON_ERROR_CODES += [code for refusal in REFUSALS.values() for code in refusal[:2]]


@cache
def _router(service: str) -> ServiceOperationRouter:
    return ServiceOperationRouter(get_service_model(service))


def service_of(request: Request) -> str:
    """The service a request was signed for; S3 where it was not signed."""
    presigned = f"Credential={request.args.get('X-Amz-Credential', '')}"
    match = SCOPE.search(request.headers.get("Authorization", "")) or SCOPE.search(presigned)
    name = match[1] if match else "s3"
    if name == "sagemaker" and request.path.startswith("/endpoints/"):
        return "sagemaker-runtime"
    return SIGNED_AS.get(name, name)


class HttpApi:
    """The WSGI application."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def __call__(self, environ: Document, start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        return self.respond(request)(environ, start_response)

    def respond(self, request: Request) -> Response:
        """The whole answer to a request."""
        if not LOCAL_HOSTS.fullmatch(request.host):
            return Response("the local account answers this machine only", 403)
        if _is_from_a_page(request):
            return Response("the local account does not answer web pages", 403)
        service = service_of(request)
        request.get_data()  # kept as it is signed: a router takes a form apart
        try:
            operation, path_arguments = _router(service).match(request)
        except (NotFound, NotImplementedError):
            return Response(f"no operation of {service} is at {request.method} {request.path}", 404)
        except Exception as error:  # botocore's UnknownServiceError: whatever was asked for
            return Response(f"service {service} is not known: {error}", 404)
        return self._answer(request, service, operation, path_arguments)

    def _answer(
        self, request: Request, service: str, operation: Any, path_arguments: Document
    ) -> Response:
        """The operation's answer, or its error, in the wire format of the service."""
        name = f"{service}:{operation.name}"
        protocol = determine_request_protocol(operation.service_model, request.content_type)
        context = SerializationContext(request_id=str(uuid.uuid4()))
        serializer = get_serializer_class(service, protocol)(operation, context)
        status: int | None = None
        body: Any = None
        result: Document = {}
        try:
            check_expiry(request.args, time.time())
            check_signature(self.account.credentials, service, request)
            arguments = _arguments(service, operation, protocol, request, path_arguments)
            result = shaped(self.account.call(name, arguments), operation.output_shape)
            body = _take_stream(operation, result)
            sent = serializer.serialize(result)
            status = _status(service, operation.name, result, sent["status_code"])
        except Exception as error:  # a client is never shown a traceback
            failed = self.account.failure(name, error)
            sent, status, body = serializer.serialize(failed), failed.status, None
        headers = {**sent["headers"], "x-amzn-RequestId": context.request_id or ""}
        if body is not None:
            headers["Content-Type"] = str(result.get("ContentType", "application/octet-stream"))
        response = Response(body if body is not None else sent["body"], status, headers,
                            direct_passthrough=body is not None)  # fmt: skip
        if request.method == "HEAD" and service == "s3":
            response.headers["Content-Length"] = str(
                result.get("ContentLength", 0) if status == 200 else 0
            )
        return response


def _is_from_a_page(request: Request) -> bool:
    """Whether a browser says that some web page, and not its user, makes the request."""
    return "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none"


def _arguments(
    service: str, operation: Any, protocol: str, request: Request, path_arguments: Document
) -> Document:
    """The operation's arguments, checked against the service model as boto3 checks its own."""
    parser = PROTOCOL_PARSERS[protocol](operation, timestamp_parser=parse_timestamp)
    raw = decode_body(request.get_data(cache=False), dict(request.headers))
    sent: Any = {
        "body": raw,
        "headers": request.headers,
        "method": request.method,
        "url_params": path_arguments,
        "url_path": request.path,
        "values": request.values,
    }
    try:
        arguments: Document = parser.parse(sent)
    except (RequestParserError, ParseError) as error:
        message = "The XML you provided was not well-formed or did not validate"
        raise ServiceError("MalformedXML", message) from error
    except ValueError as error:
        code = "InvalidArgument" if service == "s3" else "SerializationException"
        raise ServiceError(code, "the request is not readable") from error
    arguments = {name: value for name, value in arguments.items() if value is not None}
    if service == "s3":
        arguments |= _s3_headers(arguments)
    report = ParamValidator().validate(arguments, operation.input_shape)
    if report.has_errors():
        raise ServiceError("ValidationException", report.generate_report())
    check_names(arguments, operation.input_shape)
    return arguments


def _s3_headers(arguments: Document) -> Document:
    """What S3 reads from headers otherwise than its model says: quoted, or in small letters."""
    changed: Document = {}
    if isinstance(arguments.get("CopySource"), str):
        changed["CopySource"] = unquote(arguments["CopySource"])
    if "Metadata" in arguments:
        metadata = arguments["Metadata"].items()
        changed["Metadata"] = {name.lower(): value for name, value in metadata}
    return changed


def _take_stream(operation: Any, result: Document) -> Iterator[bytes] | None:
    """The payload of an answer that is a stream of bytes, taken out of it."""
    shape = operation.output_shape
    payload = shape.serialization.get("payload") if shape is not None else None
    if payload is None or shape.members[payload].type_name != "blob":
        return None
    stream = result.pop(payload, None)
    if stream is None or isinstance(stream, bytes):
        return iter([stream or b""])
    chunks: Iterator[bytes] = stream.iter_chunks(CHUNK_BYTES)
    return chunks


def _status(service: str, operation: str, result: Document, modelled: int) -> int:
    """S3 answers a range with 206 and a deletion with 204, which its model does not say."""
    if service == "s3" and "ContentRange" in result:
        return 206
    if service == "lambda" and operation == "Invoke":
        return int(result.get("StatusCode", modelled))
    return modelled


class _QuietHandler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing: requests may carry what must not be logged."""


def bind(account: Account, port: int) -> BaseWSGIServer:
    """A server on the loopback interface that has its port (0: any free one); not yet serving."""
    if not 0 <= port < 1 << 16:
        raise LocalAccountError(f"there is no port {port}: give one below 65536 with --port")
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        raise LocalAccountError(f"port {port} is taken: give another with --port") from error
    with listener:
        return serve(account, listener)


def serve(account: Account, listener: socket.socket) -> BaseWSGIServer:
    """A server on a socket that listens on the loopback interface; not yet serving."""
    return make_server(
        HOST,
        listener.getsockname()[1],
        HttpApi(account),
        threaded=True,
        request_handler=_QuietHandler,
        fd=listener.fileno(),
    )
