"""Writes the lock files beside it from pyproject.toml: `make lock`.

- `base.lock`: everything but torch, pinned, with hashes, for every platform and Python >= 3.11.
- `torch.lock`: torch, the default wheels and the CPU build.
- `tools/X.lock`: tools that have an environment of their own, from `tools/X.in`.
- `cuda.lock`: what the default Linux wheel of torch needs besides (about 4 GB). The set-up installs
  it only where that wheel was installed; a CPU build of torch needs none of it.

Needs `uv` on the path, to resolve for all platforms at once. No registry host is written.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
CUDA = re.compile(r"(nvidia|cuda|triton)(-|==)")
# PyTorch's own CPU build (torch-2.13.0+cpu, CPython 3.11, Linux x86_64): pip prefers it to the
# default wheel wherever it is offered one, by a wheel folder or an extra index.
CPU_WHEELS = ("sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)


def compiled(source: str) -> list[str]:
    """The pinned packages, one text each with its hashes."""
    command = (
        f"uv pip compile {source} --universal --python-version 3.11 "
        "--generate-hashes --no-annotate --no-header --quiet"
    )
    result = subprocess.run(  # noqa: S603 - a fixed command
        command.split(), cwd=HERE.parent, check=True, capture_output=True, text=True
    )
    return re.split(r"\n(?=\S)", result.stdout.strip())


def with_cpu_wheels(package: str) -> str:
    """Torch's text with the hashes of its CPU builds."""
    return " \\\n    ".join([package, *(f"--hash={digest}" for digest in CPU_WHEELS)])


def main() -> None:
    locks: dict[str, list[str]] = {"base": [], "torch": [], "cuda": []}
    for package in compiled("pyproject.toml --extra dev"):
        torch = package.startswith("torch==")
        name = "torch" if torch else "cuda" if CUDA.match(package) else "base"
        locks[name].append(with_cpu_wheels(package) if torch else package)
    for name, packages in locks.items():
        (HERE / f"{name}.lock").write_text("\n".join(packages) + "\n")
        print(f"{name}.lock: {len(packages)} packages")
    for wanted in sorted((HERE / "tools").glob("*.in")):
        packages = compiled(str(wanted.relative_to(HERE.parent)))
        wanted.with_suffix(".lock").write_text("\n".join(packages) + "\n")
        print(f"tools/{wanted.stem}.lock: {len(packages)} packages")


if __name__ == "__main__":
    main()
