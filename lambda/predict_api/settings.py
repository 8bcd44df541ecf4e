"""What the API is told by its environment, checked once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from predict_api.errors import SettingsError

# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
API_TIMEOUT_S = 30.0
ENTITY_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
SHORTEST_KEY = 32
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]")
# The rest of the environment belongs to Lambda; a key of one of these families that is no setting
# is a typing error that would otherwise silently leave a default in place.
FAMILIES = (
    "ENDPOINT_",
    "CONNECT_TIMEOUT",
    "READ_TIMEOUT",
    "MAX_ATTEMPT",
    "MAX_BODY",
    "MAX_BATCH",
    "FEEDBACK_",
)


@dataclass(frozen=True)
class Settings:
    """Which endpoint is asked, how long and how often, and how much a caller may send."""

    endpoint_name: str
    connect_timeout_s: float = 1.0
    # long enough for a serverless endpoint that wakes up
    read_timeout_s: float = 12.0
    max_attempts: int = 2
    backoff_s: float = 0.5
    """Most that is waited before each further attempt."""
    function_timeout_s: float = 29.0
    max_body_bytes: int = 16384
    max_batch_reviews: int = 25
    feedback_bucket: str | None = None
    feedback_key: str | None = field(default=None, repr=False)
    """What request ids are signed with; nobody outside knows it."""

    def __post_init__(self) -> None:
        if len(self.endpoint_name) > 63 or not ENTITY_NAME.fullmatch(self.endpoint_name):
            raise SettingsError(
                "ENDPOINT_NAME: not a name; 1 to 63 letters, digits and inner hyphens are"
            )
        for key in ("connect_timeout_s", "read_timeout_s", "max_body_bytes", "max_batch_reviews"):
            if getattr(self, key) <= 0:
                raise SettingsError(f"{key.upper()}: must be greater than 0")
        if not 1 <= self.max_attempts <= 5:
            raise SettingsError("MAX_ATTEMPTS: must be from 1 to 5")
        if self.feedback_bucket is not None and not BUCKET_NAME.fullmatch(self.feedback_bucket):
            raise SettingsError("FEEDBACK_BUCKET: must be the name of an S3 bucket")
        if self.feedback_bucket is not None and len(self.feedback_key or "") < SHORTEST_KEY:
            raise SettingsError(f"FEEDBACK_KEY: must have at least {SHORTEST_KEY} characters")
        if not self.slowest_answer_s < self.function_timeout_s - 1 < API_TIMEOUT_S - 1:
            raise SettingsError(
                "MAX_ATTEMPTS, CONNECT_TIMEOUT_S, READ_TIMEOUT_S: the slowest answer would take "
                f"{self.slowest_answer_s:g} s; it must leave a second of FUNCTION_TIMEOUT_S "
                f"({self.function_timeout_s:g}), and that be below {API_TIMEOUT_S:g}"
            )

    @property
    def attempt_s(self) -> float:
        """How long one attempt may take, from its first byte to its last."""
        return self.connect_timeout_s + self.read_timeout_s

    @property
    def slowest_answer_s(self) -> float:
        """How long a caller waits when every attempt runs into its timeout."""
        return self.max_attempts * self.attempt_s + (self.max_attempts - 1) * self.backoff_s

    @property
    def max_batch_body_bytes(self) -> int:
        return self.max_batch_reviews * self.max_body_bytes

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings, or raise SettingsError naming the key and its valid form."""
        known = {one.name.upper(): one for one in fields(cls)}
        for key in environ:
            if key.startswith(FAMILIES) and key not in known:
                raise SettingsError(f"{key}: unknown setting; known are {', '.join(known)}")
        values = {}
        for key, one in known.items():
            # an empty variable is how a template says "not set"
            if environ.get(key):
                values[one.name] = READERS[str(one.type)](key, environ[key])
            elif one.default is MISSING:
                raise SettingsError(f"{key}: missing")
        return cls(**values)


def _integer(key: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise SettingsError(f"{key}: must be a whole number")
    return int(text)


def _seconds(key: str, text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text):
        raise SettingsError(f"{key}: must be a number of seconds such as 2.5")
    return float(text)


READERS: dict[str, Callable[[str, str], Any]] = {
    "str": lambda key, text: text,
    "str | None": lambda key, text: text,
    "int": _integer,
    "float": _seconds,
}
