"""What a cold start has to carry."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORT_S = 0.35
# CPU seconds, of the best of a few: other work on the machine does not count, a slow one does
NOISE = 1.5
PACKAGE_BYTES = 5 * 1024 * 1024
MEASURE = """
import json, sys, time
started = time.process_time()
import predict_api.app
print(json.dumps([time.process_time() - started, sorted(sys.modules)]))
"""


def import_once() -> tuple[float, set[str]]:
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-c", MEASURE],
        env={"PYTHONPATH": str(ROOT / "lambda"), "ENDPOINT_NAME": "sentiment"},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, modules = json.loads(result.stdout)
    return seconds, set(modules)


def test_a_cold_import_is_quick_and_leaves_the_heavy_ones_for_later() -> None:
    runs = [import_once() for _ in range(5)]
    for _, modules in runs:
        assert not {"boto3", "botocore.session", "pydantic"} & modules
    assert min(seconds for seconds, _ in runs) <= IMPORT_S * NOISE


def shipped(name: str) -> set[str]:
    """A distribution and all that it needs, but what Lambda has itself."""
    names = {name}
    for requirement in distribution(name).requires or []:
        if "extra ==" not in requirement and "boto" not in requirement:
            match = re.match(r"[\w.-]+", requirement)
            assert match is not None
            names |= shipped(match[0])
    return names


def test_the_package_is_small_without_boto3() -> None:
    own = [path for path in (ROOT / "lambda" / "predict_api").rglob("*") if path.suffix != ".pyc"]
    needed = [
        Path(str(file.locate()))
        for name in shipped("aws-lambda-powertools")
        for file in distribution(name).files or []
        if file.suffix != ".pyc"
    ]
    size_bytes = sum(path.stat().st_size for path in [*own, *needed] if path.is_file())
    assert 1_000_000 < size_bytes <= PACKAGE_BYTES
