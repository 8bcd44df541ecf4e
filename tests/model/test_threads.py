import threading
from pathlib import Path

import pytest
import torch

from model.artifact import load_artifact
from model.explain import explain
from model.predictor import Predictor
from model.threads import SideBySide

REVIEWS = ["a good film", "quite bad and dull, " * 90, "great"]


def here() -> torch.Tensor:
    return torch.tensor(threading.get_ident())


def test_one_caller_alone_has_two_things_done_at_once() -> None:
    first, second = SideBySide()(here, here)
    assert first == here()
    assert second != here()


def test_of_several_callers_each_does_its_own() -> None:
    both = SideBySide()
    inner: list[tuple[torch.Tensor, torch.Tensor]] = []

    def while_another_is_under_way() -> torch.Tensor:
        inner.append(both(here, here))
        return here()

    both(while_another_is_under_way, here)
    assert inner == [(here(), here())]
    assert both(here, here)[1] != here()  # alone again


def test_a_failure_is_the_callers_and_not_the_next_ones() -> None:
    both = SideBySide()

    def fail() -> torch.Tensor:
        raise ValueError("no number")

    for first, second in ((fail, here), (here, fail)):
        with pytest.raises(ValueError, match="no number"):
            both(first, second)
    assert both(here, here)[1] != here()


def test_the_other_thread_is_in_the_same_mode() -> None:
    def mode() -> torch.Tensor:
        return torch.tensor(torch.is_inference_mode_enabled())

    both = SideBySide()
    with torch.inference_mode():
        assert both(mode, mode) == (True, True)
    assert both(mode, mode) == (False, False)


def test_directions_read_at_once_give_the_same_verdicts_and_words(pristine_artifact: Path) -> None:
    alone, at_once = (Predictor(load_artifact(pristine_artifact)) for _ in range(2))
    at_once.artifact.model.both = SideBySide()
    assert at_once.predict(REVIEWS) == alone.predict(REVIEWS)
    assert explain(at_once, REVIEWS[0]) == explain(alone, REVIEWS[0])
