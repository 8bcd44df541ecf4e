from pathlib import Path

import numpy as np
import pytest

from model.checkpoints import Checkpoint, load_checkpoint, save_checkpoint


def checkpoint(step: int, run: str = "run") -> Checkpoint:
    return Checkpoint(step, run, {"model.w": np.full(3, step, np.float32)}, {"best_epoch": 1})


def test_the_newest_is_read_back_and_alone(tmp_path: Path) -> None:
    for step in (10, 20):
        save_checkpoint(tmp_path, checkpoint(step))
    found, line = load_checkpoint(tmp_path, "run")
    assert found is not None
    assert found.step == 20
    assert found.tensors["model.w"].tolist() == [20, 20, 20]
    assert found.progress == {"best_epoch": 1}
    assert line == "going on from the checkpoint at step 20"
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000020"]


def test_one_of_another_run_hides_none_of_this_one(tmp_path: Path) -> None:
    for step, run in ((10, "run"), (80, "other")):
        save_checkpoint(tmp_path / run, checkpoint(step, run))
    (tmp_path / "other" / "step-00000080").rename(tmp_path / "run" / "step-00000080")
    found, line = load_checkpoint(tmp_path / "run", "run")
    assert found is not None
    assert (found.step, line) == (10, "going on from the checkpoint at step 10")
    found, line = load_checkpoint(tmp_path / "run", "third")
    assert found is None
    assert line.startswith("step-00000080: is of other settings or data")


def test_a_step_can_be_saved_twice(tmp_path: Path) -> None:
    for _ in range(2):
        save_checkpoint(tmp_path, checkpoint(10))
    assert load_checkpoint(tmp_path, "run")[0]


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_without_one_training_starts_at_the_beginning(tmp_path: Path, folder: str) -> None:
    assert load_checkpoint(tmp_path / folder, "run") == (
        None,
        "no checkpoint; starting from the beginning",
    )


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_a_damaged_one_is_said_and_not_used(tmp_path: Path, name: str) -> None:
    save_checkpoint(tmp_path, checkpoint(10))
    path = tmp_path / "step-00000010" / name
    path.write_bytes(path.read_bytes()[:-3])
    found, line = load_checkpoint(tmp_path, "run")
    assert found is None
    assert "step-00000010: is damaged or of another format" in line


def test_a_kill_while_saving_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, checkpoint(10))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("model.checkpoints.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, checkpoint(20))
    found, _ = load_checkpoint(tmp_path, "run")
    assert found is not None
    assert found.step == 10
