"""Writes the lock files beside it from pyproject.toml: `make lock`.

- `base.lock`: everything but torch, pinned, with hashes, for every platform and Python >= 3.11.
- `torch.lock`: torch, the default wheels and the CPU build.
- `tools/X.lock`: tools that have an environment of their own, from `tools/X.in`.
- `inference/requirements.lock`: the serving image's, Linux and Python 3.12, torch as its CPU build.
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
# The image's CPython 3.12, Linux x86_64 and aarch64, as PyTorch's index of CPU builds gives them.
IMAGE_WHEELS = (
    "sha256:4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
    "sha256:6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604",
)
EVERYWHERE = "--universal --python-version 3.11"
IMAGE = (
    "--python-platform x86_64-manylinux_2_28 --python-version 3.12 "
    "--constraint requirements/base.lock --constraint requirements/torch.lock"
)


def compiled(source: str, where: str = EVERYWHERE) -> list[str]:
    """The pinned packages, one text each with its hashes."""
    command = f"uv pip compile {source} {where} --generate-hashes --no-annotate --no-header --quiet"
    result = subprocess.run(  # noqa: S603 - a fixed command
        command.split(), cwd=HERE.parent, check=True, capture_output=True, text=True
    )
    return re.split(r"\n(?=\S)", result.stdout.strip())


def with_wheels(package: str, digests: tuple[str, ...]) -> str:
    """The package's text with the hashes of further builds."""
    return " \\\n    ".join([package, *(f"--hash={digest}" for digest in digests)])


def of_the_image() -> list[str]:
    """What the serving image installs. No CPU build can be resolved where its index is unknown, so
    torch is resolved as elsewhere and then named as that build, without what only a GPU needs.
    """
    packages = []
    for package in compiled("inference/requirements.in", IMAGE):
        if package.startswith("torch=="):
            packages.append(with_wheels(f"{package.split()[0]}+cpu", IMAGE_WHEELS))
        elif not CUDA.match(package):
            packages.append(package)
    return packages


def main() -> None:
    locks: dict[str, list[str]] = {"base": [], "torch": [], "cuda": []}
    for package in compiled("pyproject.toml --extra dev"):
        torch = package.startswith("torch==")
        name = "torch" if torch else "cuda" if CUDA.match(package) else "base"
        locks[name].append(with_wheels(package, CPU_WHEELS) if torch else package)
    for name, packages in locks.items():
        (HERE / f"{name}.lock").write_text("\n".join(packages) + "\n")
        print(f"{name}.lock: {len(packages)} packages")
    packages = of_the_image()
    (HERE.parent / "inference/requirements.lock").write_text("\n".join(packages) + "\n")
    print(f"inference/requirements.lock: {len(packages)} packages")
    for wanted in sorted((HERE / "tools").glob("*.in")):
        packages = compiled(str(wanted.relative_to(HERE.parent)))
        wanted.with_suffix(".lock").write_text("\n".join(packages) + "\n")
        print(f"tools/{wanted.stem}.lock: {len(packages)} packages")


if __name__ == "__main__":
    main()
