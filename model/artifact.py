"""A model version as files: weights, dictionary, config, code, and the manifest over them."""

import gzip
import io
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from model import manifest
from model.archives import ArchiveLimits, read_archive
from model.errors import ArtifactError, ModelError
from model.files import read_json, write_file, write_json
from model.lstm import LSTMConfig, SentimentLSTM
from model.tensors import read_tensors, tensor_bytes
from model.text import TextSettings
from model.vocabulary import Vocabulary

FORMAT = 1
ARCHIVE_NAME = "model.tar.gz"
NGRAM_KEYS = "ngrams.keys"
_LIMITS = ArchiveLimits(
    read_bytes=manifest.MAX_FILE_BYTES,
    member_bytes=manifest.MAX_FILE_BYTES,
    total_bytes=2 << 30,
    members=2 * manifest.MAX_FILES,
)


@dataclass(frozen=True)
class Artifact:
    """A verified and loaded version; `document` is its config.json."""

    model: SentimentLSTM
    vocabulary: Vocabulary
    document: Mapping[str, Any]


def write_artifact(
    directory: Path,
    model: SentimentLSTM,
    vocabulary: Vocabulary,
    code: Path,
    *,
    training: Mapping[str, Any],
    source: Mapping[str, Any],
) -> None:
    """Write a model directory; the manifest comes last and makes it one.

    `code` is the tree with `inference.py` and `model/` that the artifact carries along.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise ArtifactError(f"{directory}: is not empty; a model is written into an empty folder")
    try:
        arrays = {name: value.detach().numpy() for name, value in model.state_dict().items()}
        write_file(directory / "model.safetensors", tensor_bytes(arrays, {"format": str(FORMAT)}))
        vocabulary.save(directory / "vocabulary.json")
        document = {
            "format": FORMAT,
            "model": model.config.to_json(),
            "text": {"preset": vocabulary.text.preset},
            "training": dict(training),
            "source": dict(source),
        }
        write_json(directory / "config.json", document)
        _copy_code(code, directory / "code")
        manifest.write_manifest(directory)
    except BaseException:
        for path in directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def _copy_code(code: Path, target: Path) -> None:
    if not (code / "inference.py").is_file():
        raise ArtifactError(f"{code}: holds no inference.py for the artifact to carry")
    sources = [code / "inference.py", *sorted((code / "model").rglob("*.py"))]
    for path in sources:
        copy = target / path.relative_to(code)
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_file(copy, path.read_bytes())


def load_artifact(directory: Path) -> Artifact:
    """Verify the manifest, then load. Raises ArtifactError naming the file that is wrong."""
    manifest.verify(directory)
    try:
        document = read_json(directory / "config.json")
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ArtifactError(f"config.json: is not of format {FORMAT}")
        vocabulary = Vocabulary.load(directory / "vocabulary.json")
        if TextSettings.from_json(document.get("text")) != vocabulary.text:
            raise ArtifactError("config.json: its text settings are not vocabulary.json's")
        config = LSTMConfig.from_json(document.get("model"))
        if config.vocabulary_size != len(vocabulary):
            raise ArtifactError(
                f"config.json: vocabulary_size is {config.vocabulary_size}, vocabulary.json has"
                f" {len(vocabulary)}"
            )
        model = _load_model(directory / "model.safetensors", config)
    except ArtifactError:
        raise
    except ModelError as error:
        raise ArtifactError(str(error)) from error
    return Artifact(model, vocabulary, document)


def _load_model(path: Path, config: LSTMConfig) -> SentimentLSTM:
    arrays, _ = read_tensors(path)
    with torch.device("meta"), _NoNumbers():  # shapes alone, no memory and no random numbers
        model = SentimentLSTM(config)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if {name: array.shape for name, array in arrays.items()} != wanted:
        raise ArtifactError(f"{path.name}: its shapes are not those of config.json")
    for name, array in arrays.items():
        kind = np.int64 if name == NGRAM_KEYS else np.float32
        if array.dtype != kind or not np.isfinite(array).all():
            raise ArtifactError(
                f"{path.name}: holds a weight that is no finite float32 number, or a key that is"
                " no 64-bit one"
            )
    if (np.diff(arrays[NGRAM_KEYS]) <= 0).any():
        raise ArtifactError(f"{path.name}: its n-grams are not in ascending order")
    weights = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    model.load_state_dict(weights, assign=True)
    return model.requires_grad_(False)


class _NoNumbers(TorchFunctionMode):
    """Leaves tensors without numbers: to fill even one that has none, torch first imports its
    compiler, which takes half of a server's start.
    """

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        named = named or {}
        if getattr(function, "__name__", "") in ("normal_", "orthogonal_"):
            return arguments[0] if arguments else named["tensor"]
        return function(*arguments, **named)


def pack(directory: Path, archive: Path) -> None:
    """Write model.tar.gz; equal directories give equal bytes."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name in sorted([*manifest.verify(directory), manifest.NAME]):
            data = (directory / name).read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    write_file(archive, buffer.getvalue())


def unpack(archive: Path, directory: Path) -> None:
    """Write the verified content of model.tar.gz to `directory`, which must not exist yet.

    Raises ArchiveError or ArtifactError, and leaves nothing behind, for one that is hostile,
    damaged, or not vouched for.
    """
    if not archive.is_file():
        raise ArtifactError(f"{archive}: no such file")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".unpack-") as scratch:
        staged = Path(scratch) / "model"
        staged.mkdir()
        for name, data in read_archive(archive, lambda name: True, _LIMITS):
            manifest.check_name(name)
            target = staged / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        manifest.verify(staged)
        staged.rename(directory)
