"""Two real processes, joined as torchrun joins them."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.lstm import SentimentLSTM
from model.workers import Workers, join_workers
from tests.model.factory import ROOT
from tests.model.one_of_two import CONFIG, learnable, trained, whole_recipe

Found = tuple[Mapping[str, Any], Mapping[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def found(folder: Path) -> Found:
    """What each of the two processes ended with."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
    script = str(ROOT / "tests/model/one_of_two.py")
    processes = [
        subprocess.Popen(  # noqa: S603
            [sys.executable, script, str(folder)], env=os.environ | shared | {"RANK": str(rank)}
        )
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    return np.load(folder / "0.npz"), np.load(folder / "1.npz")


def test_sums_and_copies_are_the_same_in_each(found: Found) -> None:
    for one in found:
        assert one["sum"].tolist() == [[3, 3], [3, 3]]
        assert one["more"].tolist() == [10]
        assert one["copy"].tolist() == [5]


def test_two_processes_train_the_model_of_one(found: Found) -> None:
    """Each step follows the gradient of the whole batch, of which each process had a part."""
    alone = trained(Workers())
    for name, weight in alone.items():
        np.testing.assert_array_equal(found[0][name], found[1][name])
        np.testing.assert_allclose(found[0][name], weight.numpy(), atol=2e-5)


def test_two_processes_make_one_model_as_good_as_that_of_one(found: Found) -> None:
    """Also where the second process makes other guesses: those of the one that leads count."""
    names = [name.partition(".")[2] for name in found[0] if name.startswith("recipe.")]
    assert {"embedding.weight", "ngrams.weight"} <= set(names)
    for name in names:
        for one in (found[1][f"recipe.{name}"], *(two[f"other.{name}"] for two in found)):
            np.testing.assert_array_equal(found[0][f"recipe.{name}"], one)
    wanted = learnable(4000, 9).labels == 1
    alone = whole_recipe(Workers())["said"].numpy()
    one, two = (((said >= 0.5) == wanted).mean() for said in (alone, found[0]["recipe.said"]))
    assert one > 0.8
    assert abs(two - one) <= 0.005


def test_rows_that_only_one_has_are_summed_too(found: Found) -> None:
    for one in found:
        assert one["rows"].sum(axis=1).nonzero()[0].tolist() == [2, 3]


def test_both_pre_train_the_same_model(found: Found) -> None:
    """Each asks for words of its own reviews; a sparse gradient is summed as any other."""
    for name in filter(lambda name: name.startswith("pretrained."), found[0]):
        np.testing.assert_array_equal(found[0][name], found[1][name])
    torch.manual_seed(1)
    untouched = SentimentLSTM(CONFIG).state_dict()["embedding.weight"].numpy()
    assert not np.allclose(found[0]["pretrained.embedding.weight"][2:20], untouched[2:20])


def test_if_one_is_asked_to_stop_all_do_and_one_keeps_a_checkpoint(
    found: Found, folder: Path
) -> None:
    assert all("stopped" in one for one in found)
    assert len(list((folder / "checkpoints").glob("step-*"))) == 1


def test_a_process_alone_sends_nothing() -> None:
    with join_workers({}) as workers:
        assert (workers.rank, workers.count, workers.leads) == (0, 1, True)
        tensor = torch.ones(2)
        workers.sum([tensor])
        workers.copy([tensor])
        assert tensor.tolist() == [1, 1]
