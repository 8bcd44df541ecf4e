"""Which commit the clone stands at."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path


def source_commit(root: Path, *, ignoring: Sequence[str] = ()) -> str:
    """The git commit of the clone, marked when files differ from it; `unknown` without git.

    Files and folders of `ignoring` may differ.
    """
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return "unknown"
    but = ("--", ".", *(f":!{path}" for path in ignoring))
    return f"{commit}-modified" if _git(root, "status", "--porcelain", *but) else commit


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(root), *arguments],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
