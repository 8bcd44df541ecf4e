"""S3 through real boto3 clients, on files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.local.errors import ServiceError
from pipeline.local.housekeeping import usage
from pipeline.local.objects import ObjectStore


@pytest.fixture
def s3(box: Any) -> Any:
    client = box.client("s3")
    client.create_bucket(Bucket="b")
    return client


def test_an_object_comes_back_with_its_type_metadata_and_range(s3: Any) -> None:
    s3.put_object(
        Bucket="b", Key="k", Body=b"0123456789", ContentType="text/x", Metadata={"a": "1"}
    )
    answer = s3.get_object(Bucket="b", Key="k", Range="bytes=2-4")
    assert answer["Body"].read() == b"234"
    assert answer["ContentRange"] == "bytes 2-4/10"
    head = s3.head_object(Bucket="b", Key="k")
    assert (head["ContentType"], head["Metadata"], head["ContentLength"]) == (
        "text/x",
        {"a": "1"},
        10,
    )


def test_a_large_file_goes_up_and_down_in_parts(s3: Any, tmp_path: Path) -> None:
    source, target = tmp_path / "up", tmp_path / "down"
    source.write_bytes(bytes(range(256)) * 80_000)
    s3.upload_file(str(source), "b", "large")
    s3.download_file("b", "large", str(target))
    assert target.read_bytes() == source.read_bytes()


def test_keys_are_listed_in_pages_and_by_folder(s3: Any) -> None:
    for key in ("a/1", "a/2", "b/1", "c"):
        s3.put_object(Bucket="b", Key=key, Body=b"")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket="b", PaginationConfig={"PageSize": 2}
    )
    assert [item["Key"] for page in pages for item in page["Contents"]] == [
        "a/1",
        "a/2",
        "b/1",
        "c",
    ]
    pages = list(
        s3.get_paginator("list_objects_v2").paginate(
            Bucket="b", Delimiter="/", PaginationConfig={"PageSize": 1}
        )
    )
    prefixes = [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", [])]
    assert prefixes == ["a/", "b/"]
    assert [item["Key"] for page in pages for item in page.get("Contents", [])] == ["c"]


@pytest.mark.parametrize(
    ("call", "arguments", "code"),
    [
        ("head_object", {"Bucket": "b", "Key": "none"}, "404"),
        ("get_object", {"Bucket": "b", "Key": "none"}, "NoSuchKey"),
        ("get_object", {"Bucket": "none", "Key": "k"}, "NoSuchBucket"),
        ("head_bucket", {"Bucket": "none"}, "404"),
        ("delete_bucket", {"Bucket": "full"}, "BucketNotEmpty"),
        ("put_object", {"Bucket": "b", "Key": "a/" + "k" * 256}, "KeyTooLongError"),
        ("get_object", {"Bucket": "b", "Key": "k" * 256}, "KeyTooLongError"),
        (
            "upload_part",
            {"Bucket": "b", "Key": "k", "UploadId": "x", "PartNumber": 1},
            "NoSuchUpload",
        ),
    ],
)
def test_errors_have_their_aws_codes(s3: Any, call: str, arguments: Any, code: str) -> None:
    s3.create_bucket(Bucket="full")
    s3.put_object(Bucket="full", Key="k", Body=b"")
    with pytest.raises(ClientError) as caught:
        getattr(s3, call)(**arguments)
    assert caught.value.response["Error"]["Code"] == code


def test_copies_and_deletions(s3: Any, box: Any) -> None:
    s3.put_object(Bucket="b", Key="x/y", Body=b"text", ContentType="text/plain")
    s3.copy_object(Bucket="b", Key="z", CopySource={"Bucket": "b", "Key": "x/y"})
    assert s3.head_object(Bucket="b", Key="z")["ContentType"] == "text/plain"
    s3.delete_objects(Bucket="b", Delete={"Objects": [{"Key": "x/y"}, {"Key": "never"}]})
    s3.delete_object(Bucket="b", Key="z")
    assert s3.list_objects_v2(Bucket="b")["KeyCount"] == 0
    assert list((box.home / "s3" / "b").iterdir()) == []


def test_a_conditional_put_does_not_overwrite(s3: Any) -> None:
    s3.put_object(Bucket="b", Key="k", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket="b", Key="k", Body=b"2", IfNoneMatch="*")
    assert s3.get_object(Bucket="b", Key="k")["Body"].read() == b"1"


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([], "MalformedXML"),
        ([{"PartNumber": 3, "ETag": "x"}], "InvalidPart"),
        ([{"PartNumber": 1, "ETag": "another"}], "InvalidPart"),
        ([{"PartNumber": 2}, {"PartNumber": 1}], "InvalidPartOrder"),
    ],
)
def test_an_upload_is_completed_from_its_own_parts_in_order(s3: Any, parts: Any, code: str) -> None:
    upload = {"Bucket": "b", "Key": "k"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    etags = [s3.upload_part(**upload, PartNumber=n, Body=b"x")["ETag"] for n in (1, 2)]
    with pytest.raises(ClientError) as caught:
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert caught.value.response["Error"]["Code"] == code
    named = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": named})
    assert s3.get_object(Bucket="b", Key="k")["Body"].read() == b"xx"


def test_a_page_of_no_keys_is_empty(s3: Any) -> None:
    s3.put_object(Bucket="b", Key="k", Body=b"")
    answer = s3.list_objects_v2(Bucket="b", MaxKeys=0)
    assert (answer["KeyCount"], answer["IsTruncated"]) == (0, False)


def test_an_abandoned_upload_leaves_nothing(s3: Any, box: Any) -> None:
    upload = s3.create_multipart_upload(Bucket="b", Key="k")["UploadId"]
    s3.upload_part(Bucket="b", Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    s3.abort_multipart_upload(Bucket="b", Key="k", UploadId=upload)
    assert list((box.home / "tmp").iterdir()) == []


def test_a_file_dropped_in_by_hand_is_an_object(s3: Any, box: Any) -> None:
    (box.home / "s3" / "b" / "by-hand.txt").write_text("hello")
    assert s3.get_object(Bucket="b", Key="by-hand.txt")["Body"].read() == b"hello"


@settings(max_examples=200, deadline=None)  # a busy disk is not what is asked about
@given(key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_key_stays_inside_its_bucket_and_comes_back(
    tmp_path_factory: pytest.TempPathFactory, key: str
) -> None:
    objects = ObjectStore(tmp_path_factory.getbasetemp() / "s3", tmp_path_factory.getbasetemp())
    objects.create_bucket("b")
    path = objects.path("b", key)
    assert path.resolve().is_relative_to((objects.root / "b").resolve())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    assert key in [entry.key for entry in objects.list("b")]
    objects.delete("b", key)


def test_a_key_cannot_be_a_file_and_a_folder(s3: Any, box: Any) -> None:
    box.account.objects.create_bucket("b")
    s3.put_object(Bucket="b", Key="a", Body=b"")
    with pytest.raises(ClientError, match="a file and a folder of one name"):
        s3.put_object(Bucket="b", Key="a/b", Body=b"")


def test_a_download_keeps_the_part_of_the_key_below_the_prefix(box: Any, tmp_path: Path) -> None:
    for key in ("data/train/pos/1.txt", "data/train.txt"):
        box.put(key, key)
    objects = box.account.objects
    assert objects.download("s3://b/data/train/", tmp_path / "folder") == 1
    assert (tmp_path / "folder" / "pos" / "1.txt").exists()
    assert objects.download("s3://b/data/train.txt", tmp_path / "one") == 1
    assert (tmp_path / "one" / "train.txt").exists()
    with pytest.raises(ServiceError, match="not an S3 URI"):
        objects.download("file:///etc", tmp_path)


@pytest.mark.parametrize("bucket", ["../outside", "..", ".", "/etc", "b/../../outside", ""])
def test_a_bucket_name_that_would_leave_the_root_is_refused(tmp_path: Path, bucket: str) -> None:
    store = ObjectStore(tmp_path / "s3", tmp_path / "tmp")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("x")
    for attempt in (store.create_bucket, store.bucket, store.list):
        with pytest.raises(ServiceError) as caught:
            attempt(bucket)
        assert caught.value.code == "InvalidBucketName"


def test_a_stray_file_beside_the_buckets_is_not_a_bucket(box: Any, s3: Any) -> None:
    (box.home / "s3" / ".DS_Store").write_text("x")
    (box.home / "s3" / "notes").write_text("x")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["b"]
    assert ("s3://b/k", 1) not in usage(box.account)
    s3.put_object(Bucket="b", Key="k", Body=b"x")
    assert ("s3://b/k", 1) in usage(box.account)
