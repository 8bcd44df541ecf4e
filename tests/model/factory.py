"""Tiny reviews, archives and models, made anew for each test."""

import gzip
import io
import random
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from model.artifact import pack, write_artifact
from model.lstm import LSTMConfig, SentimentLSTM
from model.shards import Reviews, concatenate
from model.vocabulary import Vocabulary

ROOT = Path(__file__).parents[2]
GOOD, BAD = ("good", "great", "lovely", "warm"), ("bad", "dull", "poor", "cold")
FILLER = ("the", "film", "was", "and", "story", "it", "quite", "really", "scene", "actor")


def sentence(chance: random.Random, label: int, words: int = 8) -> str:
    chosen = [*chance.choices(FILLER, k=words), *chance.choices(GOOD if label else BAD, k=2)]
    chance.shuffle(chosen)
    return " ".join(chosen)


def corpus(per_class: int = 12, *, unlabelled: int = 0, seed: int = 1) -> dict[str, bytes]:
    """Path in the layout of the IMDB archive -> content."""
    chance = random.Random(seed)  # noqa: S311
    files = {"top/README": b"made for a test"}
    for split in ("train", "test"):
        for folder, label in (("pos", 1), ("neg", 0)):
            for number in range(per_class):
                text = sentence(chance, label)
                files[f"top/{split}/{folder}/{number}_{7 * label + 2}.txt"] = text.encode()
    for number in range(unlabelled):
        files[f"top/train/unsup/{number}_0.txt"] = sentence(chance, number % 2).encode()
    return files


Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), link
    return info, data


def tar_bytes(members: Iterable[Member], form: int = tarfile.USTAR_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def archive_bytes(files: Mapping[str, bytes]) -> bytes:
    return gzip.compress(tar_bytes(member(name, data) for name, data in files.items()), mtime=0)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_archive(folder: Path, files: Mapping[str, bytes], name: str = "data.tar.gz") -> Path:
    return write_folder(folder, {name: archive_bytes(files)})


def vocabulary() -> Vocabulary:
    return Vocabulary((*FILLER, *GOOD, *BAD, "n't", "not", "!"))


def encoded(count: int = 60, seed: int = 1) -> Reviews:
    """Encoded reviews of mixed length, half of them positive."""
    chance = random.Random(seed)  # noqa: S311
    words = vocabulary()
    rows = []
    for number in range(count):
        label = number % 2
        tokens = words.encode(sentence(chance, label, words=1 + number % 9).split())
        offsets = np.array([0, len(tokens)], dtype=np.int64)
        rows.append(Reviews(tokens, offsets, np.array([label], dtype=np.int8)))
    return concatenate(rows)


def tiny_model(seed: int = 1) -> SentimentLSTM:
    torch.manual_seed(seed)
    size = len(vocabulary())
    return SentimentLSTM(
        LSTMConfig(size, embedding_dim=6, hidden_dim=5, max_review_length=30, dropout=0.1)
    )


def stage(folder: Path) -> Path:
    """The code of jobs and server, as the pipeline stages it."""
    shutil.copytree(ROOT / "model", folder / "model", ignore=shutil.ignore_patterns("__pycache__"))
    for path in ("preprocess.py", "train.py", "evaluate.py"):
        shutil.copy(ROOT / "steps" / path, folder)
    shutil.copy(ROOT / "inference" / "inference.py", folder)
    return folder


def write_tiny_artifact(directory: Path, code: Path) -> Path:
    write_artifact(
        directory, tiny_model(), vocabulary(), code, training={"epochs": []}, source={"run": "test"}
    )
    return directory


def packed(artifact: Path, folder: Path) -> Path:
    """`folder` with the artifact as model.tar.gz."""
    folder.mkdir(parents=True, exist_ok=True)
    pack(artifact, folder / "model.tar.gz")
    return folder


def unvouched(artifact: Path, changes: Mapping[str, bytes]) -> bytes:
    """A model.tar.gz of the artifact's files with some replaced or added."""
    names = sorted(path.relative_to(artifact) for path in artifact.rglob("*") if path.is_file())
    files = {name.as_posix(): (artifact / name).read_bytes() for name in names}
    return archive_bytes(files | dict(changes))
