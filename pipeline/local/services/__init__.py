"""One module a service; importing this package registers every answer."""

from pipeline.local.services import (
    endpoints,
    events,
    functions,
    identity,
    jobs,
    logs,
    pipelines,
    registry,
    s3,
    s3_listing,
    search,
    tags,
    uploads,
)

__all__ = [
    "endpoints",
    "events",
    "functions",
    "identity",
    "jobs",
    "logs",
    "pipelines",
    "registry",
    "s3",
    "s3_listing",
    "search",
    "tags",
    "uploads",
]
