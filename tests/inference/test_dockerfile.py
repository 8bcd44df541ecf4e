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
    (base,) = [line for line in lines if line.startswith("FROM ")]
    assert re.fullmatch(r"FROM python:3\.12\.\d+-slim-\w+", base)
    (user,) = [line for line in lines if line.startswith("USER ")]
    assert int(user.split()[1]) > 0
    assert any(line.startswith("HEALTHCHECK ") for line in lines)


def test_every_package_of_the_image_is_pinned() -> None:
    lines = (ROOT / "inference/requirements.txt").read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    assert packages
    assert all(re.match(r"[\w.-]+==[\w.+]+", line) for line in packages)
