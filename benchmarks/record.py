"""What a benchmark measured, with the machine, the versions and the commit it was measured on."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import tables
from pipeline.commit import source_commit

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("torch", "numpy", "safetensors")


def record(
    name: str, figures: Mapping[str, Any], *, device: str | None = None, folder: Path = RESULTS
) -> Path:
    """Write `<name>.json` and return its path; `device` names an accelerator, where one is used.

    A file of the same name is replaced: the history of a figure is in the project's history.
    """
    value = {
        "name": name,
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine() | ({"device": device} if device else {}),
        "versions": versions(),
        "figures": dict(figures),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def commit() -> str:
    """That is measured; results of other benchmarks do not make it another program."""
    pages = (f"docs/{page}" for page in tables.PAGES)
    return source_commit(ROOT, ignoring=("benchmarks/results", *pages))


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory in GiB, system."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30, 1),
        "system": platform.system(),
    }


def versions() -> dict[str, str]:
    """Python's version, and those of the packages that decide how fast it goes."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
