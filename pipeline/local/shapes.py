"""Answers in the form botocore would have parsed, driven by its own service models.

Documents are kept whole, with times as epoch seconds. An operation's output shape decides which
members of them the caller sees and of what type, so a summary is a document seen through a
narrower shape, and nothing internal leaks.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from pipeline.local.errors import ServiceError


def shaped(value: Any, shape: Shape | None) -> Any:
    """`value` seen through a botocore shape: unknown members dropped, times made datetimes."""
    if shape is None:
        return {}
    if value is None:
        return None
    if isinstance(shape, StructureShape):
        return {
            name: shaped(value[name], member)
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if isinstance(shape, ListShape):
        return [shaped(item, shape.member) for item in value]
    if isinstance(shape, MapShape):
        return {key: shaped(item, shape.value) for key, item in value.items()}
    if shape.type_name == "timestamp" and isinstance(value, int | float):
        return dt.datetime.fromtimestamp(value, dt.UTC)
    return value


def check_names(arguments: dict[str, Any], shape: StructureShape | None) -> None:
    """Hold each name in a request to the service model's pattern, which botocore leaves to AWS.

    Names of jobs and endpoints become names of folders here, so none may lead elsewhere.
    """
    for name, member in (shape.members if shape is not None else {}).items():
        value, pattern = arguments.get(name), member.metadata.get("pattern")
        if name.endswith("Name") and value is not None and pattern:
            if not re.fullmatch(pattern, value):
                raise ServiceError(
                    "ValidationException",
                    f"Value {value!r} at {name} failed to satisfy constraint: "
                    f"Member must satisfy regular expression pattern: {pattern}",
                )
