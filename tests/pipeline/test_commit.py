from __future__ import annotations

import subprocess
from pathlib import Path

from pipeline.commit import source_commit


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(  # noqa: S603
        ["git", "-C", str(folder), *identity, *arguments],  # noqa: S607
        check=True,
        capture_output=True,
    )


def test_the_commit_is_marked_when_files_differ_from_it(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "a")
    commit = source_commit(tmp_path)
    assert len(commit) == 40
    (tmp_path / "a").write_text("2")
    assert source_commit(tmp_path) == f"{commit}-modified"


def test_a_folder_may_differ_when_it_is_to_be_ignored(tmp_path: Path) -> None:
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "a")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "new.json").write_text("{}")
    assert source_commit(tmp_path).endswith("-modified")
    assert len(source_commit(tmp_path, ignoring=["results"])) == 40


def test_without_git_the_commit_is_unknown(tmp_path: Path) -> None:
    assert source_commit(tmp_path / "not there") == "unknown"
