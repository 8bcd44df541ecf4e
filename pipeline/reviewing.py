"""`sentiment registry compare|history|rollback|report|pin|unpin`: the reviewer's look and hand."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.errors import RegistryError
from pipeline.opening import opened
from pipeline.output import print_json
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.registry import Version
    from pipeline.target import Target

REPORT = "report.html"

# Imports of boto3 and of modules that need it wait inside the functions: `--help` must not pay.


def add_reviewing(verbs: Any, command: Callable[..., Any]) -> None:
    """Add the commands to the group `registry`; `command` adds one."""
    parser = command(
        verbs, "compare", compare, "set two versions side by side: metrics, parameters, data, code"
    )
    parser.add_argument("before", metavar="V1", type=int, help="number of the one version")
    parser.add_argument("after", metavar="V2", type=int, help="number of the other")
    command(verbs, "history", history, "who decided what and why, and what was served when")
    rollback_parser = command(
        verbs,
        "rollback",
        rollback,
        "reject the served version: the one approved before it is served again",
        "example:\n  sentiment registry rollback --reason 'too sure of itself' --yes",
    )
    rollback_parser.add_argument("--reason", help="why; it is kept with the version (required)")
    rollback_parser.add_argument("--yes", action="store_true", help="do not ask")
    parser = command(verbs, "report", report, "where the report of a version is")
    parser.add_argument("version", metavar="V", type=int, help="number of the version")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    parser = command(verbs, "pin", pin, "have a version served until it is unpinned")
    parser.add_argument("version", metavar="V", type=int, help="number of the version")
    command(verbs, "unpin", unpin, "let the version approved last be served again")


def compare(options: Namespace, settings: Settings) -> int:
    """Print how two versions differ."""
    from pipeline.comparison import compare as compare_versions
    from pipeline.display import text_table
    from pipeline.registry import Registry

    target = opened(settings)
    registry = Registry(target)
    found = compare_versions(target, registry.find(options.before), registry.find(options.after))
    if options.json:
        print_json(found.as_json())
        return 0
    before, after = f"version {options.before}", f"version {options.after}"
    rows = [
        (
            one.name,
            f"{one.before:.4f}",
            f"{one.after:.4f}",
            f"{one.difference:+.4f}",
            "" if one.p_value is None else f"{one.p_value:.3f}",
            one.verdict,
        )
        for one in found.metrics
    ]
    print(text_table(("metric", before, after, "difference", "p", ""), rows))
    changed = {**found.parameters, **found.origins}
    print()
    if changed:
        print(text_table(("what", before, after), [(k, *pair) for k, pair in changed.items()]))
    else:
        print("same parameters, data and code")
    if found.commits:
        print(f"\ngit log {found.commits}")
    return 0


def history(options: Namespace, settings: Settings) -> int:
    """Print decisions and roll-outs, the newest first."""
    from pipeline.display import text_table
    from pipeline.history import history as known

    events = known(opened(settings))
    if options.json:
        print_json([asdict(event) for event in events])
    elif events:
        rows = [(one.at, one.version, one.what, one.by, one.reason) for one in events]
        print(text_table(("when", "version", "what", "by", "why"), rows))
    else:
        print("nothing was decided or served yet", file=sys.stderr)
    return 0


def rollback(options: Namespace, settings: Settings) -> int:
    """Reject the served version, after showing what will be served then."""
    from pipeline.endpoint import Endpoint
    from pipeline.registry import REJECTED, Registry

    target = opened(settings)
    served = Endpoint(target).served()
    if served is None or served.version is None:
        raise RegistryError("nothing is served: there is nothing to roll back from")
    registry = Registry(target)
    following = registry.wanted(without=served.version)
    print(
        f"version {served.version} is served; once it is rejected, {_next(following)}",
        file=sys.stderr,
    )
    if not options.yes and not _agrees():
        print("nothing is changed", file=sys.stderr)
        return 1
    decision = registry.decide(served.version, REJECTED, options.reason or "")
    if options.json:
        number = following.number if following and not following.failure else None
        print_json({"rejected": served.version, "next": number, "changed": decision.changed})
    else:
        print(f"version {served.version} is now Rejected: {decision.version.reason}")
    return 0


def report(options: Namespace, settings: Settings) -> int:
    """Print where the report of a version is; open it if asked."""
    from pipeline.comparison import split
    from pipeline.registry import Registry

    target = opened(settings)
    version = Registry(target).find(options.version)
    bucket, key = split(version.evaluation_url, version.number)
    key = f"{key.rpartition('/')[0]}/{REPORT}"
    _must_exist(target, bucket, key, version.number)
    place = target.file_place(bucket, key)
    if options.json:
        print_json({"version": version.number, "report": place})
    else:
        print(place)
    if options.open:
        import webbrowser

        webbrowser.open(place if "://" in place else f"file://{place}")
    return 0


def pin(options: Namespace, settings: Settings) -> int:
    """Pin a version."""
    from pipeline.registry import Registry

    version = Registry(opened(settings)).pin(options.version)
    if options.json:
        print_json(version.as_json())
    else:
        print(f"version {version.number} is pinned: it is served until it is unpinned or rejected")
    return 0


def unpin(options: Namespace, settings: Settings) -> int:
    """Take every pin away."""
    from pipeline.registry import Registry

    registry = Registry(opened(settings))
    pinned = registry.unpin()
    wanted = registry.wanted()
    if options.json:
        numbers = [version.number for version in pinned]
        following = wanted.number if wanted and not wanted.failure else None
        print_json({"unpinned": numbers, "wanted": following})
    elif pinned:
        print(f"version {pinned[0].number} is not pinned any more: {_next(wanted)}")
    else:
        print("no version is pinned; nothing is changed")
    return 0


def _next(following: Version | None) -> str:
    """What is served then. A version that failed is tried again only once it is approved again."""
    if following is None:
        return "nothing is served"
    if following.failure is None:
        return f"version {following.number} is served"
    return (
        f"it goes on being served, as version {following.number}, the next, did not come into "
        f"service ({following.failure}): approve that or another one first"
    )


def _must_exist(target: Target, bucket: str, key: str, number: int) -> None:
    from botocore.exceptions import ClientError

    try:
        target.client("s3").head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
            raise
        raise RegistryError(
            f"version {number} has no report (its evaluation was made before there was one)"
        ) from error


def _agrees() -> bool:
    if not sys.stdin.isatty():
        raise RegistryError("rolling back needs --yes where nobody can be asked")
    print("go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return input().strip().lower() in ("y", "yes")
