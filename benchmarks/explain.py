"""Explanations: do the words' weights say what the model says, and how long do they take.

    make bench-explain ARTIFACT=a model directory or model.tar.gz DATA=path/to/aclImdb_v1.tar.gz

On 500 test reviews: how often the sum of the weights has the sign of the logit, with the weights
as they are and before what two steps miss of the logit is spread over them; how much of the logit
is gone without the ten heaviest words for the verdict, against ten words at random.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import tables
from benchmarks.record import record
from model.artifact import load_artifact, unpack
from model.batches import pad
from model.explain import explain, presence_gradients, word_weights
from model.predictor import Predictor
from model.reviews import find_source

REVIEWS = 500
REMOVED = 10
SEED = 0


def test_reviews(archive: Path) -> list[str]:
    texts = [one.data.decode() for one in find_source(archive).reviews() if one.split == "test"]
    return random.Random(SEED).sample(texts, REVIEWS)  # noqa: S311 - reviews, not secrets


def open_predictor(path: Path) -> Predictor:
    if path.is_dir():
        return Predictor(load_artifact(path))
    with tempfile.TemporaryDirectory() as scratch:
        unpack(path, Path(scratch) / "model")
        return Predictor(load_artifact(Path(scratch) / "model"))


def logit(model: Any, encoded: NDArray[np.int32], without: Sequence[int] = ()) -> float:
    """Of a review, `without` some of its words."""
    tokens, lengths = pad([encoded])
    presence = torch.ones(tokens.shape)
    presence[0, list(without)] = 0.0
    with torch.inference_mode():
        return float(model(tokens, lengths, presence=presence)[0])


def timed(action: Callable[..., Any], *arguments: Any) -> float:
    started = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - started


def measure(predictor: Predictor, texts: Sequence[str]) -> dict[str, Any]:
    model, vocabulary = predictor.artifact.model, predictor.artifact.vocabulary
    chance = random.Random(SEED)  # noqa: S311
    found: dict[str, list[float]] = {
        name: []
        for name in ("agree", "raw", "turned", "lost", "random", "explain", "both", "forward")
    }
    for text in texts:
        encoded = vocabulary.encode(vocabulary.text.tokenize(text))
        if not len(encoded):
            continue
        said = logit(model, encoded)
        weights = word_weights(model, encoded)
        gradients, _ = presence_gradients(model, encoded)
        found["agree"].append((weights.sum() > 0) == (said > 0))
        found["raw"].append((gradients.sum() > 0) == (said > 0))
        found["turned"].append(float(np.mean(np.sign(weights) != np.sign(gradients))))
        heaviest = np.argsort(-np.sign(said) * weights)[:REMOVED].tolist()
        some = chance.sample(range(len(encoded)), min(REMOVED, len(encoded)))
        for name, words in (("lost", heaviest), ("random", some)):
            found[name].append(1 - logit(model, encoded, words) / said)
        found["explain"].append(timed(explain, predictor, text))
        found["both"].append(timed(forward_and_backward, model, encoded))
        found["forward"].append(timed(predictor.predict, [text]))
    return {
        "reviews": len(found["agree"]),
        "sum_agrees_with_logit": float(np.mean(found["agree"])),
        "sum_agrees_before_the_rest_is_spread": float(np.mean(found["raw"])),
        "words_whose_sign_the_rest_turns": round(float(np.mean(found["turned"])), 4),
        "logit_lost_without_the_ten_heaviest_words": round(median(found["lost"]), 3),
        "logit_lost_without_ten_words_at_random": round(median(found["random"]), 3),
        "explain_ms": round(1000 * median(found["explain"]), 2),
        "forward_and_backward_ms": round(1000 * median(found["both"]), 2),
        "predict_ms": round(1000 * median(found["forward"]), 2),
    }


def forward_and_backward(model: Any, encoded: NDArray[np.int32]) -> None:
    tokens, lengths = pad([encoded])
    presence = torch.ones(tokens.shape).requires_grad_()
    torch.autograd.grad(model(tokens, lengths, presence=presence).sum(), [presence])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("archive", type=Path)
    options = parser.parse_args(arguments)
    for path in (options.artifact, options.archive):
        if not path.exists():
            parser.error(f"nothing at {path}")
    torch.set_num_threads(1)  # as it is served
    figures = measure(open_predictor(options.artifact), test_reviews(options.archive))
    print(record("explain", figures).read_text(), end="")
    tables.write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
