import json
from pathlib import Path

import pytest

from benchmarks.record import record


def test_a_figure_is_kept_with_what_it_was_measured_on(tmp_path: Path) -> None:
    path = record("speed", {"reviews_per_second": 9000.5}, folder=tmp_path)
    found = json.loads(path.read_text())
    assert path.name == "speed.json"
    assert found["figures"] == {"reviews_per_second": 9000.5}
    assert found["machine"]["cores"] >= 1
    assert found["versions"]["numpy"]
    assert "device" not in found["machine"]


def test_an_accelerator_is_named(tmp_path: Path) -> None:
    found = json.loads(record("speed", {}, device="a GPU", folder=tmp_path).read_text())
    assert found["machine"]["device"] == "a GPU"


def test_a_figure_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        record("speed", {"loss": float("nan")}, folder=tmp_path)
