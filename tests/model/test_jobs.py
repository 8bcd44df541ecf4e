import errno
from pathlib import Path

import pytest

from model.errors import DataError, StoppedError
from model.jobs import STOPPED, run_job


def failing(error: BaseException) -> object:
    def job() -> None:
        raise error

    return job


def test_a_job_that_succeeds_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("data.tar.gz: is\n  truncated"), "data.tar.gz: is truncated"),
        (OSError(errno.ENOSPC, "full", "/out/x"), "/out/x: the disk is full; use a larger volume"),
        (PermissionError(errno.EACCES, "no", "/in"), "/in: Permission denied"),
        (OSError("odd"), "odd"),
        (MemoryError(), "out of memory; use an instance with more, or fewer reviews"),
    ],
)
def test_an_error_is_the_last_line_and_the_failure_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    failure = tmp_path / "output" / "failure"
    assert run_job(failing(error), failure) == 1  # type: ignore[arg-type]
    assert capsys.readouterr().err == f"error: {line}\n"
    assert failure.read_text() == f"{line}\n"


def test_a_failure_file_that_cannot_be_written_hides_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_job(failing(DataError("no reviews")), Path("/proc/none/failure")) == 1  # type: ignore[arg-type]
    assert capsys.readouterr().err.splitlines()[-1] == "error: no reviews"


def test_a_stopped_job_is_no_failure(tmp_path: Path) -> None:
    failure = tmp_path / "failure"
    assert run_job(failing(StoppedError("asked to stop")), failure) == STOPPED  # type: ignore[arg-type]
    assert not failure.exists()


def test_an_error_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_job(lambda: print(1 / 0))
