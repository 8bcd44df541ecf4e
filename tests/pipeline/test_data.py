from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import check_archive, resolve
from pipeline.download import sha256_of
from pipeline.errors import DataError
from pipeline.sample import PARAMETERS, Size, sample_archive
from pipeline.target import Target

SMALL = Size(train_per_class=5, test_per_class=5, unlabelled=2)


def nothing(what: str, done: int, total: int) -> None:
    pass


def found(target: Target, data: str | None) -> Any:
    s3, bucket = target.client("s3"), target.account.bucket
    return resolve(data, s3, bucket, target.scratch, nothing)


def keys(target: Target, prefix: str = "data/") -> list[str]:
    listing = target.client("s3").list_objects_v2(Bucket=target.account.bucket, Prefix=prefix)
    return [item["Key"] for item in listing.get("Contents", [])]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "my reviews.tar.gz"
    path.write_bytes(sample_archive(SMALL))
    return path


def unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def test_no_data_means_the_bundled_sample_and_its_recipe(target: Target) -> None:
    reviews = found(target, None)
    assert reviews.is_sample
    assert "sample" in reviews.about
    assert reviews.parameters == PARAMETERS
    assert keys(target) == [f"data/{reviews.sha256[:16]}/sample.tar.gz"]


def test_an_archive_lies_under_its_digest(target: Target, archive: Path) -> None:
    reviews = found(target, str(archive))
    assert reviews.sha256 == sha256_of(archive)
    assert reviews.url == f"s3://{target.account.bucket}/data/{reviews.sha256[:16]}/"
    assert keys(target) == [f"data/{reviews.sha256[:16]}/my-reviews.tar.gz"]
    assert not reviews.is_sample
    assert reviews.parameters == {}


def test_an_archive_is_uploaded_once(
    target: Target, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = found(target, str(archive))
    monkeypatch.setattr(target.client("s3"), "upload_file", None)
    assert found(target, str(archive)) == first


def test_a_folder_becomes_the_same_archive_wherever_it_lies(
    target: Target, archive: Path, tmp_path: Path
) -> None:
    one = unpack(archive, tmp_path / "one") / "sample"
    two = unpack(archive, tmp_path / "two") / "sample"
    (two / "train" / "pos" / "notes.md").write_text("stray")
    assert found(target, str(one)).sha256 == found(target, str(two)).sha256
    assert len(keys(target)) == 1


def test_a_folder_may_hold_the_layout_one_level_down(
    target: Target, archive: Path, tmp_path: Path
) -> None:
    outer = unpack(archive, tmp_path / "outer")
    reviews = found(target, str(outer))
    (key,) = keys(target)
    content = target.client("s3").get_object(Bucket=target.account.bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert len(tar.getnames()) == 22
        assert all(name.startswith("reviews/t") for name in tar.getnames())
    assert reviews.about == str(outer)


def test_a_prefix_in_s3_is_used_as_it_is(target: Target) -> None:
    bucket = target.account.bucket
    target.client("s3").put_object(Bucket=bucket, Key="mine/a.tar.gz", Body=b"x")
    reviews = found(target, f"s3://{bucket}/mine/")
    assert (reviews.url, reviews.sha256) == (f"s3://{bucket}/mine/", "any")


def test_an_empty_prefix_is_refused(target: Target) -> None:
    with pytest.raises(DataError, match="nothing lies under s3://"):
        found(target, f"s3://{target.account.bucket}/none/")


def test_a_bucket_that_is_not_there_is_refused(target: Target) -> None:
    with pytest.raises(DataError, match="cannot list s3://nowhere/x"):
        found(target, "s3://nowhere/x")


def test_a_folder_without_reviews_says_what_is_wanted(target: Target, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no reviews \(wanted: \.txt files in train/pos"):
        found(target, str(tmp_path))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def plain_tar(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def test_a_missing_file_says_what_is_valid(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no reviews at .*gone.tar.gz \(valid: an archive"):
        check_archive(tmp_path / "gone.tar.gz")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.zip", b"PK", "is not called an archive"),
        ("a.tar.gz", b"not gzip at all" * 100, "is not a readable archive"),
        ("a.tar.gz", gzip.compress(b"not tar" * 500, mtime=0), "is not a readable archive"),
        ("a.tar.gz", sample_archive(SMALL)[:900], "is cut off"),
        ("a.tar.gz", b"", "is "),
        ("a.tar", plain_tar(), "is an empty archive"),
    ],
)
def test_an_archive_that_cannot_be_read_is_refused(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=words) as caught:
        check_archive(path)
    assert str(path) in str(caught.value)


def test_a_flipped_bit_deep_in_the_archive_is_noticed(tmp_path: Path) -> None:
    content = bytearray(sample_archive(SMALL))
    content[-5] ^= 1  # in the checksum
    with pytest.raises(DataError, match="is not a readable archive"):
        check_archive(write(tmp_path / "a.tar.gz", bytes(content)))


def test_a_plain_tar_is_accepted(tmp_path: Path) -> None:
    check_archive(write(tmp_path / "a.tar", plain_tar("train/pos/0_9.txt")))


def test_nothing_is_uploaded_for_a_broken_archive(target: Target, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar.gz", sample_archive(SMALL)[:900])
    with pytest.raises(DataError):
        found(target, str(path))
    assert keys(target) == []
