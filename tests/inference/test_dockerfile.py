from __future__ import annotations

import re
import subprocess

from tests.model.factory import ROOT

HADOLINT = ROOT / ".tools/hadolint/bin/hadolint"
DOCKERFILE = ROOT / "inference/Dockerfile"


def test_hadolint_finds_nothing() -> None:
    assert HADOLINT.exists(), "hadolint is missing: make test installs it (.tools/hadolint)"
    found = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True)  # noqa: S603
    assert (found.returncode, found.stdout) == (0, "")


def test_the_image_is_pinned_watched_and_not_run_as_root() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    (base,) = [line for line in lines if line.startswith("ARG BASE=")]
    assert re.fullmatch(r"ARG BASE=public\.ecr\.aws/\S+/python:3\.12\.\d+-slim-\w+", base)
    assert [line for line in lines if line.startswith("FROM ")] == ["FROM ${BASE}"]
    (user,) = [line for line in lines if line.startswith("USER ")]
    assert int(user.split()[1]) > 0
    assert any(line.startswith("HEALTHCHECK ") for line in lines)


def test_every_package_of_the_image_is_pinned_with_hashes_as_the_projects_own_is() -> None:
    ours = locked("requirements/base.lock") | locked("requirements/torch.lock")
    image = locked("inference/requirements.lock")
    wanted = (ROOT / "inference/requirements.in").read_text().splitlines()
    assert {line for line in wanted if not line.startswith("#")} <= image.keys()
    assert image["torch"] == {f"{version}+cpu" for version in ours["torch"]}
    for name in image.keys() - {"torch"}:
        assert image[name] <= ours[name]
    assert "pip install --no-cache-dir --require-hashes" in DOCKERFILE.read_text()


def locked(lock: str) -> dict[str, set[str]]:
    """Versions of each package of a lock file, each with a hash."""
    versions: dict[str, set[str]] = {}
    for package in re.split(r"\n(?=\S)", (ROOT / lock).read_text().strip()):
        found = re.match(r"([\w.-]+)==([\w.+]+) .*--hash=sha256:[0-9a-f]{64}", package, re.DOTALL)
        assert found, f"no version with a hash: {package[:50]}"
        versions.setdefault(found[1], set()).add(found[2])
    return versions
