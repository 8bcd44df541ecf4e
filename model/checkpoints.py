"""Where training stands, so that a killed job goes on instead of starting again.

A checkpoint is a folder `step-00000390` with `state.safetensors` and `state.json`; it appears
by one rename, so it is either whole or not there.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from model.errors import DataError
from model.files import read_json, sha256_of, write_file, write_json
from model.tensors import Array, read_tensors, tensor_bytes

FORMAT = 3  # in 2 pre-training drew other words, in 1 the vectors had one optimizer, not two


@dataclass(frozen=True)
class Checkpoint:
    """`run` identifies settings and data; only the same run may go on from it."""

    step: int
    run: str
    tensors: Mapping[str, Array]
    progress: Mapping[str, Any]


def run_digest(said: Any, weights: Iterable[Tensor], arrays: Iterable[NDArray[Any]]) -> str:
    """Names a run by what it must agree in to go on: what can be said as JSON, and numbers."""
    digest = hashlib.sha256(json.dumps(said).encode())
    for array in (*(weight.detach().cpu().numpy() for weight in weights), *arrays):
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write it, then remove the ones before."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{checkpoint.step:08d}"
    partial = folder / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    write_file(partial / "state.safetensors", tensor_bytes(checkpoint.tensors, {}))
    value = {
        "format": FORMAT,
        "step": checkpoint.step,
        "run": checkpoint.run,
        "sha256": sha256_of(partial / "state.safetensors"),
        "progress": dict(checkpoint.progress),
    }
    write_json(partial / "state.json", value)
    shutil.rmtree(final, ignore_errors=True)
    partial.replace(final)
    for path in folder.glob("step-*"):
        if path != final:
            shutil.rmtree(path, ignore_errors=True)


def load_checkpoint(folder: Path, run: str) -> tuple[Checkpoint | None, str]:
    """The newest checkpoint that this run can use, and one line on what was found."""
    found = sorted(folder.glob("step-*"), reverse=True) if folder.is_dir() else []
    others = ""
    for path in found:
        try:
            checkpoint = _read(path)
        except DataError:
            continue
        if checkpoint.run == run:
            return checkpoint, f"going on from the checkpoint at step {checkpoint.step}"
        # S3 keeps what runs of other data left under the same settings
        others = others or f"{path.name}: is of other settings or data; starting from the beginning"
    if others:
        return None, others
    if found:
        what = "is damaged or of another format"
        return None, f"{found[0].name}: {what}; starting from the beginning"
    return None, "no checkpoint; starting from the beginning"


def _read(path: Path) -> Checkpoint:
    value = read_json(path / "state.json")
    weights = path / "state.safetensors"
    if not isinstance(value, dict) or value.get("format") != FORMAT or not weights.is_file():
        raise DataError(f"{path}: is no checkpoint of format {FORMAT}")
    if sha256_of(weights) != value.get("sha256"):
        raise DataError(f"{weights}: is not what was written")
    tensors, _ = read_tensors(weights)
    return Checkpoint(int(value["step"]), str(value["run"]), tensors, value["progress"])
