from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import SourceError
from pipeline.settings import ROOT
from pipeline.source import ENTRY_FILES, code_digest, stage, upload
from tests.pipeline.conftest import write_clone


@pytest.mark.parametrize(
    ("job", "own"),
    [
        ("preprocess", ["preprocess.py"]),
        ("train", ["train.py", "inference.py"]),
        ("evaluate", ["evaluate.py"]),
    ],
)
def test_a_tree_holds_the_entry_scripts_the_package_and_nothing_else(
    clone: Path, job: str, own: list[str]
) -> None:
    names = [name for name, _ in stage(job, clone).files]
    assert names == sorted([*own, "model/__init__.py", "model/text.py", "requirements.txt"])


def test_the_digest_depends_on_content_only(clone: Path, tmp_path: Path) -> None:
    other = write_clone(tmp_path / "elsewhere")
    (other / "model" / "text.py").chmod(0o755)
    assert stage("train", other).digest == stage("train", clone).digest
    (other / "model" / "text.py").write_text("words = ()\n")
    assert stage("train", other).digest != stage("train", clone).digest


def test_the_digest_of_all_code_changes_with_any_of_it(clone: Path, tmp_path: Path) -> None:
    other = write_clone(tmp_path / "elsewhere")
    (other / "steps" / "evaluate.py").write_text("print('other')\n")
    before, after = (code_digest(stage(job, at) for job in ENTRY_FILES) for at in (clone, other))
    assert before != after


def test_the_archive_is_the_same_for_the_same_files(clone: Path, tmp_path: Path) -> None:
    archive = stage("preprocess", clone).archive()
    assert archive == stage("preprocess", write_clone(tmp_path / "elsewhere")).archive()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = tar.getmembers()
    assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}


def test_a_missing_script_is_named(tmp_path: Path) -> None:
    clone = write_clone(tmp_path / "clone")
    (clone / "steps" / "train.py").unlink()
    with pytest.raises(SourceError, match=r"cannot read .*steps/train\.py.*No such file"):
        stage("train", clone)


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    clone = write_clone(tmp_path / "clone")
    (clone / "model" / "__init__.py").unlink()
    with pytest.raises(SourceError, match="no Python package at"):
        stage("train", clone)


def test_what_is_in_the_bucket_is_not_sent_again() -> None:
    class S3:
        sent: list[str] = []  # noqa: RUF012 - one bucket in this test

        def list_objects_v2(self, **_: Any) -> dict[str, Any]:
            return {"Contents": [{"Key": "p/a", "Size": 1}, {"Key": "p/b", "Size": 1}]}

        def put_object(self, **request: Any) -> None:
            self.sent.append(request["Key"])

    s3 = S3()
    files = [("a", b"1"), ("b", b"22"), ("c", b"3")]
    assert upload(s3, "bucket", "p", files) == "s3://bucket/p/"
    assert s3.sent == ["p/b", "p/c"]


@pytest.mark.parametrize("job", ["preprocess", "train", "evaluate"])
def test_the_staged_tree_works_in_a_process_that_sees_nothing_else(
    job: str, tmp_path: Path
) -> None:
    for name, content in stage(job, ROOT).files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", f"{job}.py", "--help"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_the_serving_code_imports_from_the_staged_tree_alone(tmp_path: Path) -> None:
    for name, content in stage("train", ROOT).files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    hooks = "import inference as i; print(i.model_fn, i.input_fn, i.predict_fn, i.output_fn)"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", hooks],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
