"""Things to measure: a version of the default size, its server, and the API before it."""

from __future__ import annotations

import http.client
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.target import Target

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
REVIEW_WORDS = 230
VOCABULARY_SIZE = 40_000  # the pipeline's default
NGRAMS = 1_500_000  # about as many as two of the 25,000 IMDB reviews have
READY_WITHIN_S = 60.0


@dataclass
class Process:
    """A process that answers HTTP on a port."""

    port: int
    popen: subprocess.Popen[bytes]
    ready_s: float
    """From its start to its first good answer."""

    def peak_memory_mb(self) -> float:
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return round(int(line.split()[1]) / 1024, 1)


def reviews(count: int, words: int = REVIEW_WORDS, seed: int = 1) -> list[str]:
    """Reviews of exactly so many words, made of the bundled sample's sentences."""
    from pipeline.sample import Size, sample_files

    texts = [text for _, text in sample_files(Size(200, 1, 1), seed)]
    chance = random.Random(seed)  # noqa: S311 - not a secret
    made = []
    for _ in range(count):
        tokens: list[str] = []
        while len(tokens) < words:
            tokens += chance.choice(texts).split()
        made.append(" ".join(tokens[:words]))
    return made


def write_version(folder: Path) -> Path:
    """An artifact of the default size with random weights, at `folder`/model."""
    import numpy as np

    from model.artifact import write_artifact
    from model.lstm import LSTMConfig, SentimentLSTM
    from model.ngrams import build_table
    from model.shards import Reviews
    from model.text import TextSettings
    from model.vocabulary import Vocabulary

    code = folder / "code"
    shutil.copytree(ROOT / "model", code / "model", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "inference" / "inference.py", code)
    tokenize = TextSettings().tokenize
    tokens = [tokenize(review) for review in reviews(200)]
    known = sorted({token for row in tokens for token in row})
    words = [*known, *(f"w{number}" for number in range(VOCABULARY_SIZE))]
    vocabulary = Vocabulary(tuple(words[:VOCABULARY_SIZE]))
    rows = [vocabulary.encode(row) for row in tokens]
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    read = Reviews(np.concatenate(rows), offsets, np.zeros(len(rows), dtype=np.int8))
    chance = np.random.default_rng(1)
    others = chance.integers(0, len(vocabulary) ** 3, NGRAMS)
    keys = np.union1d(build_table(read, len(vocabulary)).keys, others)
    model = SentimentLSTM(LSTMConfig(len(vocabulary), ngram_count=len(keys)))
    model.ngrams.set(keys, chance.normal(size=len(keys)), 0.0)
    write_artifact(folder / "model", model, vocabulary, code, training={}, source={})
    return folder / "model"


@contextmanager
def server(model_dir: Path, log: Path) -> Iterator[Process]:
    """The inference server over a model directory, in a process of its own."""
    command = ["-m", "inference.server", "--model-dir", str(model_dir), "--host", HOST]
    with running(command, log, ping="/ping") as process:
        yield process


@contextmanager
def api(home: Path, log: Path) -> Iterator[Process]:
    """API and website over the account in `home`, as `make serve` starts them."""
    with running(["-m", "pipeline", "--home", str(home), "serve"], log, ping="/") as process:
        yield process


@contextmanager
def running(command: list[str], log: Path, ping: str) -> Iterator[Process]:
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    started = time.perf_counter()
    with log.open("wb") as output:
        popen = subprocess.Popen(  # noqa: S603 - our own modules
            [sys.executable, *command, "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=output,
        )
    try:
        while not _answers(port, ping):
            if popen.poll() is not None or time.perf_counter() - started > READY_WITHIN_S:
                raise RuntimeError(f"it never became ready; its log is {log}")
            time.sleep(0.01)
        yield Process(port, popen, round(time.perf_counter() - started, 2))
    finally:
        popen.terminate()
        popen.wait(READY_WITHIN_S)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def deploy(home: Path, model_dir: Path) -> Target:
    """Have a new local account in `home` serve the artifact at its endpoint."""
    from model.artifact import pack
    from pipeline.settings import Settings
    from pipeline.target import open_target

    target = open_target(Settings(home=home))
    target.prepare()
    archive = home / "model.tar.gz"
    pack(model_dir, archive)
    target.client("s3").upload_file(str(archive), target.account.bucket, "bench/model.tar.gz")
    sagemaker = target.client("sagemaker")
    sagemaker.create_model(
        ModelName="bench",
        ExecutionRoleArn=target.account.role_arn,
        PrimaryContainer={
            "Image": target.account.inference_image,
            "ModelDataUrl": f"s3://{target.account.bucket}/bench/model.tar.gz",
            "Environment": {"MODEL_VERSION": "1"},
        },
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName="bench",
        ProductionVariants=[{"VariantName": "all", "ModelName": "bench"}],
    )
    sagemaker.create_endpoint(EndpointName=target.account.endpoint_name, EndpointConfigName="bench")
    sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName=target.account.endpoint_name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    return target
