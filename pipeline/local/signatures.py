"""Who asks over HTTP: only whoever has the key of the home, which its owner alone can read.

The loopback interface is open to every user of the machine, and a job that is created runs as the
owner. So requests are signed as AWS's are, with a random key of the home: in the Authorization
header or the query (Signature Version 4), or in the older query form of S3's presigned URLs.

Source: AWS General Reference, "Create a signed AWS API request".
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes, urlsplit

from pipeline.local.errors import LocalAccountError, ServiceError

if TYPE_CHECKING:
    from moto.core.request import Request
    from werkzeug.datastructures import Headers

ALGORITHM = "AWS4-HMAC-SHA256"
HEADER = re.compile(
    rf"{ALGORITHM} +Credential=([^/,]+)/([^,]+), *SignedHeaders=([^,]+), *Signature=([0-9a-f]+)"
)
PAYLOAD_HEADER = "X-Amz-Content-SHA256"
ENVIRONMENT = "sentiment account env"
# What is wrong → code and text, S3's and the other services'.
REFUSALS = {
    "unsigned": ("AccessDenied", "MissingAuthenticationTokenException", "the request is unsigned"),
    "key": ("InvalidAccessKeyId", "UnrecognizedClientException", "the key is not this account's"),
    "signature": ("SignatureDoesNotMatch", "InvalidSignatureException", "the signature is wrong"),
}


class Credentials(NamedTuple):
    """An access key."""

    access_key_id: str
    secret_access_key: str


def kept_credentials(path: Path) -> Credentials:
    """The key that is kept in a file, made by whoever first asks for it.

    Raises LocalAccountError for a file that is damaged.
    """
    if not path.exists():
        made = Credentials(f"LOCAL{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30))
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(made._asdict(), file)
        with suppress(FileExistsError):  # another process was first
            path.hardlink_to(draft)
        draft.unlink()
    try:
        return Credentials(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise LocalAccountError(
            f"{path} holds no key: delete it and another is made, for `{ENVIRONMENT}` to print"
        ) from error


def client_variables(credentials: Credentials, url: str, region: str) -> dict[str, str]:
    """The environment with which any AWS client reaches the account at `url`."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
    }


def check_signature(credentials: Credentials, service: str, request: Request) -> None:
    """Raise ServiceError (403, the service's code) unless the key of the account has signed it."""
    query = request.args
    if match := HEADER.fullmatch(request.headers.get("Authorization", "").strip()):
        key, scope, names, signature = match.groups()
        date = request.headers.get("X-Amz-Date", "")
        expected = _signed(credentials, service, request, scope, names, date, _payload(request))
    elif "X-Amz-Signature" in query:
        key, _, scope = query.get("X-Amz-Credential", "").partition("/")
        names, date = query.get("X-Amz-SignedHeaders", ""), query.get("X-Amz-Date", "")
        signature = query["X-Amz-Signature"]
        payload = _presigned_payload(service, request)
        expected = _signed(credentials, service, request, scope, names, date, payload)
    elif "AWSAccessKeyId" in query:
        key, signature = query["AWSAccessKeyId"], query.get("Signature", "")
        expected = _signed_as_before(credentials, request)
    else:
        raise _refusal("unsigned", service)
    if not hmac.compare_digest(key.encode(), credentials.access_key_id.encode()):
        raise _refusal("key", service)
    if not hmac.compare_digest(signature.encode(), expected.encode()):
        raise _refusal("signature", service)


def _refusal(what: str, service: str) -> ServiceError:
    of_s3, of_others, text = REFUSALS[what]
    return ServiceError(
        of_s3 if service == "s3" else of_others, f"{text}: `{ENVIRONMENT}` prints the key", 403
    )


def _payload(request: Request) -> str:
    given: str | None = request.headers.get(PAYLOAD_HEADER)
    return given or hashlib.sha256(request.get_data()).hexdigest()


def _presigned_payload(service: str, request: Request) -> str:
    """S3 signs a URL before there is a body; the other services sign the body, too."""
    if service == "s3":
        return str(request.headers.get(PAYLOAD_HEADER, "UNSIGNED-PAYLOAD"))
    return _payload(request)


def _target(request: Request) -> tuple[str, str]:
    """Path and query as they were sent."""
    parts = urlsplit(request.environ["RAW_URI"])
    return parts.path, parts.query


def _signed(
    credentials: Credentials,
    service: str,
    request: Request,
    scope: str,
    names: str,
    date: str,
    payload: str,
) -> str:
    """The signature that the request should have."""
    path, query = _target(request)
    pairs = [part.partition("=")[::2] for part in query.split("&") if part]
    canonical = "\n".join(
        (
            request.method,
            path if service == "s3" else quote(path, safe="/~"),
            "&".join(
                f"{name}={value}"
                for name, value in sorted(  # by name first: `a=2` goes before `a-b=1`
                    (_encoded(name), _encoded(value)) for name, value in pairs
                )
                if name != "X-Amz-Signature"
            ),
            *(f"{name}:{_header(request.headers, name)}" for name in names.split(";")),
            "",
            names,
            payload,
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return _hmac(key, "\n".join((ALGORITHM, date, scope, digest))).hex()


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(text), safe="-_.~")  # which need not be UTF-8


def _header(headers: Headers, name: str) -> str:
    return " ".join(headers.get(name, "").split())


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _signed_as_before(credentials: Credentials, request: Request) -> str:
    """The signature of a presigned URL of S3's Signature Version 2, as botocore makes it."""
    from botocore.auth import HmacV1Auth
    from botocore.compat import HTTPHeaders
    from botocore.credentials import Credentials as Key

    class UntilItExpires(HmacV1Auth):
        def _get_date(self) -> str:
            return str(request.args.get("Expires", ""))

    path, query = _target(request)
    headers = {k: v for k, v in request.headers.items() if k.lower() in ("content-type", "date")}
    headers |= {k: v for k, v in request.headers.items() if k.lower().startswith("x-amz-")}
    split = urlsplit(f"http://any{path}?{query}")
    all_headers: Any = HTTPHeaders.from_dict({**headers, "Date": ""})
    signer = UntilItExpires(Key(*credentials))
    return str(signer.get_signature(request.method, split, all_headers))
