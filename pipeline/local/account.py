"""An AWS account in a folder: an ordinary boto3 session whose clients are answered from `home`.

Two public botocore events do it. `before-parameter-build` keeps the caller's arguments (already
checked against the service model), `before-call` answers in the place of the network. Parameter
validation, paginators, waiters and ClientError stay botocore's own. An operation that nobody
answers here fails by name and never reaches the network.
"""

from __future__ import annotations

import json
import os
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.local.errors import AnswerTimeout, LocalAccountError, ServiceError, as_service_error
from pipeline.local.objects import ObjectStore, write_atomically
from pipeline.local.shapes import check_names, shaped
from pipeline.local.signatures import Credentials, kept_credentials
from pipeline.local.store import Document, Store

if TYPE_CHECKING:
    import boto3

ACCOUNT_ID = "000000000000"
REGION = "us-east-1"

# What is kept in a home that nothing was handed in to.
NOTHING: Document = {"images": {}, "functions": {}, "rules": []}

Answer = Callable[["Account", Document], Document]
ANSWERS: dict[str, Answer] = {}
READ_TIMEOUT_S: ContextVar[float] = ContextVar("READ_TIMEOUT_S", default=60.0)
"""How long the client that asks now waits for its answer."""


def answers(*operations: str) -> Callable[[Answer], Answer]:
    """Register a function as the answer to `service:Operation`."""

    def register(function: Answer) -> Answer:
        for operation in operations:
            ANSWERS[operation] = function
        return function

    return register


@dataclass(frozen=True)
class Image:
    """What stands for a container image here: a command and the environment it brings."""

    entrypoint: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Function:
    """A Lambda function: `handler` (`package.module.function`) below the folder `path`."""

    handler: str
    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_s: int = 60


@dataclass(frozen=True)
class Rule:
    """An EventBridge rule: events that match `pattern` are sent to `function`."""

    name: str
    pattern: Mapping[str, Any]
    function: str


class Account:
    """The folder, its store, and what was handed in: images, functions and rules."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.region = REGION
        self.id = ACCOUNT_ID
        try:
            # the owner's alone: logs, data and environments lie there
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.store = Store(self.home / "account.db")
        except OSError as error:
            raise LocalAccountError(f"cannot use {home} as home: {error.strerror}") from error
        self.objects = ObjectStore(self.home / "s3", self.home / "tmp")
        self._configuration: tuple[tuple[int, int], Document] = ((0, 0), NOTHING)

    @cached_property
    def credentials(self) -> Credentials:
        """The key with which clients that come over HTTP sign their requests."""
        return kept_credentials(self.home / "credentials.json")

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource of this account."""
        return f"arn:aws:{service}:{self.region}:{self.id}:{resource}"

    def configure(
        self,
        images: Mapping[str, Image] | None = None,
        functions: Mapping[str, Function] | None = None,
        rules: Sequence[Rule] | None = None,
    ) -> None:
        """Keep what was handed in beside what is kept, for the account's own processes too.

        What has a name (an image its pattern) that is kept already takes its place; images that
        were handed in last are looked at first.
        """
        given: Document = {
            "images": {pattern: asdict(image) for pattern, image in (images or {}).items()},
            "functions": {
                name: {**asdict(function), "path": str(Path(function.path).absolute())}
                for name, function in (functions or {}).items()
            },
            "rules": [asdict(rule) for rule in rules or ()],
        }
        if _added(given, self.configuration) == _text(self.configuration):
            return
        with self.store.transaction():  # another process may add its own at the same time
            text = _added(given, self.configuration)
            write_atomically(self.configuration_file, text.encode(), self.home / "tmp")

    @property
    def configuration_file(self) -> Path:
        """Where what was handed in is kept."""
        return self.home / "account.json"

    @property
    def configuration(self) -> Document:
        """Images, functions and rules as JSON, as they are kept now."""
        path = self.configuration_file
        try:
            status = path.stat()
        except FileNotFoundError:
            return NOTHING
        version = (status.st_mtime_ns, status.st_ino)
        if version != self._configuration[0]:
            self._configuration = (version, self._read_configuration())
        return self._configuration[1]

    def _read_configuration(self) -> Document:
        path = self.configuration_file
        try:
            return {**NOTHING, **json.loads(path.read_text())}
        except (ValueError, TypeError) as error:
            raise LocalAccountError(
                f"{path} is not a JSON object ({error}): delete it, and hand images, functions "
                "and rules to session() again"
            ) from error

    def image(self, uri: str) -> Image:
        """The image whose pattern matches; an unknown one is an error that lists the known."""
        for pattern, known in self.configuration["images"].items():
            if fnmatchcase(uri, pattern):
                return Image(tuple(known["entrypoint"]), known["environment"])
        valid = ", ".join(self.configuration["images"]) or "none"
        raise LocalAccountError(f"no image here stands for {uri} (known patterns: {valid})")

    def function(self, name: str) -> tuple[str, Function]:
        """Name and function by name or ARN."""
        short = name.split(":function:")[-1].split(":")[0]
        known = self.configuration["functions"].get(short)
        if known is None:
            arn = self.arn("lambda", f"function:{short}")
            raise ServiceError("ResourceNotFoundException", f"Function not found: {arn}", 404)
        return short, Function(**{**known, "path": Path(known["path"])})

    def log_file(self, group: str, stream: str) -> Path:
        """The file that holds a log stream."""
        path = self.home / "logs" / group.strip("/") / f"{stream}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def call(self, operation: str, request: Document) -> Document:
        """Answer `service:Operation` with the whole document, as the account's own code sees it."""
        answer = ANSWERS.get(operation)
        if answer is None:
            raise ServiceError(
                "NotImplemented", f"{operation} is not implemented in the local account", 501
            )
        return answer(self, request)

    def failure(self, operation: str, error: Exception) -> ServiceError:
        """What a client is told of an error; one that nobody expected gets a line in the log."""
        if not isinstance(error, LocalAccountError | OSError):
            (*_, (frame, line)) = traceback.walk_tb(error.__traceback__)
            place = f"{Path(frame.f_code.co_filename).name}:{line}"
            with self.log_file("local", "errors").open("a") as file:
                file.write(f"{operation} {place} {type(error).__name__}: {error}\n")
        return as_service_error(error)

    def session(self) -> boto3.Session:
        """A boto3 session whose every client is answered from here."""
        import boto3

        session = boto3.Session(
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - never sent anywhere
            region_name=self.region,
        )
        session.events.register("before-parameter-build.*.*", _keep_arguments)
        answer: Any = self._answer  # boto3-stubs knows only handlers that return nothing
        session.events.register("before-call.*.*", answer)
        return session

    def _answer(self, model: Any, params: Any, **_: Any) -> tuple[Any, Document]:
        from botocore.awsrequest import AWSResponse
        from botocore.exceptions import ReadTimeoutError

        operation = f"{model.service_model.service_name}:{model.name}"
        request_id = str(uuid.uuid4())
        status = 200
        headers: Any = {"x-amzn-requestid": request_id}
        waits = READ_TIMEOUT_S.set(params["context"]["client_config"].read_timeout)
        try:
            arguments = params["context"]["local_arguments"]
            check_names(arguments, model.input_shape)
            answer = self.call(operation, arguments)
            parsed = shaped(answer, model.output_shape)
        except AnswerTimeout as error:
            raise ReadTimeoutError(endpoint_url=params["url"]) from error
        except Exception as error:  # a client is never shown our own exceptions
            if isinstance(error, LocalAccountError) and not isinstance(error, ServiceError):
                raise
            failed = self.failure(operation, error)
            status = failed.status
            parsed = {"Error": {"Code": failed.code, "Message": failed.message}}
        finally:
            READ_TIMEOUT_S.reset(waits)
        parsed["ResponseMetadata"] = {
            "RequestId": request_id,
            "HTTPStatusCode": status,
            "HTTPHeaders": headers,
            "RetryAttempts": 0,
        }
        return AWSResponse(params["url"], status, headers, None), parsed


def _added(given: Document, kept: Document) -> str:
    """What is kept with what is given before it, each by its name, as JSON text."""
    names = {rule["name"] for rule in given["rules"]}
    others = [rule for rule in kept["rules"] if rule["name"] not in names]
    added = {part: {**given[part], **kept[part], **given[part]} for part in ("images", "functions")}
    return _text({**added, "rules": [*given["rules"], *others]})


def _text(configuration: Document) -> str:
    return json.dumps(configuration, indent=1)


def _keep_arguments(params: Document, context: Document, **_: Any) -> None:
    context["local_arguments"] = dict(params)


def open_account(home: Path) -> Account:
    """The account in `home`, every service loaded; what the account's own processes use."""
    from pipeline.local import services  # noqa: F401 - registers the answers

    return Account(home)


def session(
    home: Path,
    *,
    images: Mapping[str, Image] | None = None,
    functions: Mapping[str, Function] | None = None,
    rules: Sequence[Rule] | None = None,
    strict: bool = False,
) -> boto3.Session:
    """A boto3 session on the account kept in `home`.

    `images` says which command stands for which container image (keyed by a glob on the URI),
    `functions` are its Lambda functions by name, `rules` its EventBridge rules. They are kept in
    `home` beside those that are there, and take the place only of one of the same name. `strict`:
    jobs, functions and model servers that this process starts see their own part of the machine
    (sandbox.py); a LocalAccountError where the kernel cannot do that.
    """
    if strict:
        _require_namespaces()
    # A proxy or endpoint override in the environment means a network that is never used here.
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    account = open_account(home)
    if images is not None or functions is not None or rules is not None:
        account.configure(images, functions, rules)
    from pipeline.local.delivery import deliver_in_background

    account.store.revive()
    deliver_in_background(account)
    return account.session()


def _require_namespaces() -> None:
    from pipeline.local import sandbox

    if not sandbox.is_available(strict=True):
        raise LocalAccountError(
            "strict mode needs Linux with unprivileged user and mount namespaces, which this "
            "machine does not give: run without it (/opt/ml is then replaced in arguments, "
            "environment and the SDK's scripts)"
        )
    os.environ[sandbox.STRICT_VARIABLE] = "1"
