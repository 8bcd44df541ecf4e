"""S3 through real boto3 clients, on files."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from hashlib import md5 as hashlib_md5
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.local import objects
from pipeline.local.errors import ServiceError
from pipeline.local.housekeeping import usage
from pipeline.local.objects import ObjectStore
from pipeline.local.services import uploads

md5 = partial(hashlib_md5, usedforsecurity=False)


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


def test_a_part_is_copied_whole_and_in_pieces(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "CHUNK_BYTES", 3)
    s3.put_object(Bucket="b", Key="from", Body=b"0123456789")
    part = {"Bucket": "b", "Key": "to", "PartNumber": 1, "CopySource": "b/from"}
    for wanted, asked in ((b"12345678", {"CopySourceRange": "bytes=1-8"}), (b"0123456789", {})):
        upload = s3.create_multipart_upload(Bucket="b", Key="to")["UploadId"]
        copied = s3.upload_part_copy(**part, UploadId=upload, **asked)["CopyPartResult"]
        s3.complete_multipart_upload(
            Bucket="b",
            Key="to",
            UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": copied["ETag"]}]},
        )
        assert s3.get_object(Bucket="b", Key="to")["Body"].read() == wanted


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
    store = ObjectStore(tmp_path_factory.getbasetemp() / "s3", tmp_path_factory.getbasetemp())
    store.create_bucket("b")
    path = store.path("b", key)
    assert path.resolve().is_relative_to((store.root / "b").resolve())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    assert key in [entry.key for entry in store.list("b")]
    store.delete("b", key)


def test_a_key_cannot_be_a_file_and_a_folder(s3: Any, box: Any) -> None:
    box.account.objects.create_bucket("b")
    s3.put_object(Bucket="b", Key="a", Body=b"")
    with pytest.raises(ClientError, match="a file and a folder of one name"):
        s3.put_object(Bucket="b", Key="a/b", Body=b"")


def test_a_download_keeps_the_part_of_the_key_below_the_prefix(box: Any, tmp_path: Path) -> None:
    for key in ("data/train/pos/1.txt", "data/train.txt"):
        box.put(key, key)
    store = box.account.objects
    assert store.download("s3://b/data/train/", tmp_path / "folder") == 1
    assert (tmp_path / "folder" / "pos" / "1.txt").exists()
    assert store.download("s3://b/data/train.txt", tmp_path / "one") == 1
    assert (tmp_path / "one" / "train.txt").exists()
    with pytest.raises(ServiceError, match="not an S3 URI"):
        store.download("file:///etc", tmp_path)


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


def test_a_put_makes_a_folder_again_that_a_deletion_takes_away_meanwhile(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Path.mkdir

    def make_and_lose(path: Path, *arguments: Any, **options: Any) -> None:
        made(path, *arguments, **options)
        if path.name == "folder" and len(lost) < 2:
            lost.append(path)
            path.rmdir()  # as another client does that deletes the last object in it

    lost: list[Path] = []
    monkeypatch.setattr(Path, "mkdir", make_and_lose)
    s3.put_object(Bucket="b", Key="folder/k", Body=b"1")
    assert len(lost) == 2
    assert s3.get_object(Bucket="b", Key="folder/k")["Body"].read() == b"1"


def test_a_put_whose_object_is_deleted_at_once_has_succeeded(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def put_and_lose(path: Path, target: Path) -> Path:
        replace(path, target).unlink()
        return target

    monkeypatch.setattr(Path, "replace", put_and_lose)
    assert s3.put_object(Bucket="b", Key="k", Body=b"1")["ETag"] == f'"{md5(b"1").hexdigest()}"'


def test_a_listing_leaves_out_what_vanishes_meanwhile(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a", "b"):
        s3.put_object(Bucket="b", Key=key, Body=b"1")
    files = objects._files

    def found_then_lost(folder: Path) -> Any:
        for path in files(folder):
            if path.name == "a":
                path.unlink()
            yield path

    monkeypatch.setattr(objects, "_files", found_then_lost)
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="b")["Contents"]] == ["b"]


def test_two_clients_that_empty_one_folder_are_not_in_each_others_way(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "s3", tmp_path / "tmp")
    store.create_bucket("b")

    def come_and_go(key: str) -> None:
        for _ in range(200):
            store.put("b", key, BytesIO(b"1"))
            store.list("b")
            store.delete("b", key)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(come_and_go, ("a/x", "a/y", "a/z")))
    assert store.list("b") == []


def test_what_is_kept_of_an_object_is_of_the_write_that_came_last(
    s3: Any, box: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    move, other = ObjectStore._move, box.client("s3")
    overtaking: list[Future[Any]] = []

    def move_and_be_overtaken(store: ObjectStore, draft: Path, path: Path, key: str) -> None:
        move(store, draft, path, key)
        if not overtaking:
            second = {"Bucket": "b", "Key": "k", "Body": b"second", "ContentType": "text/second"}
            overtaking.append(pool.submit(other.put_object, **second))
            wait(overtaking, timeout=0.3)  # it may have to wait for this one to end

    monkeypatch.setattr(ObjectStore, "_move", move_and_be_overtaken)
    with ThreadPoolExecutor(1) as pool:
        s3.put_object(Bucket="b", Key="k", Body=b"first", ContentType="text/first")
    answer = s3.get_object(Bucket="b", Key="k")
    assert answer["ContentType"] == f"text/{answer['Body'].read().decode()}"


def test_what_is_read_stays_whole_when_the_object_is_replaced(s3: Any) -> None:
    s3.put_object(Bucket="b", Key="k", Body=b"old and longer")
    answer = s3.get_object(Bucket="b", Key="k")
    s3.put_object(Bucket="b", Key="k", Body=b"new")
    assert answer["Body"].read() == b"old and longer"


def test_a_copy_keeps_type_and_metadata_unless_they_are_to_be_replaced(s3: Any) -> None:
    s3.put_object(Bucket="b", Key="k", Body=b"1", ContentType="text/csv", Metadata={"a": "1"})
    s3.copy_object(Bucket="b", Key="kept", CopySource="b/k", Metadata={"z": "9"})
    s3.copy_object(
        Bucket="b", Key="new", CopySource="b/k", Metadata={"z": "9"}, MetadataDirective="REPLACE"
    )
    kept, new = (s3.head_object(Bucket="b", Key=key) for key in ("kept", "new"))
    assert (kept["ContentType"], kept["Metadata"]) == ("text/csv", {"a": "1"})
    assert (new["ContentType"], new["Metadata"]) == ("binary/octet-stream", {"z": "9"})


def test_an_object_is_copied_onto_itself_only_with_new_metadata(s3: Any) -> None:
    s3.put_object(Bucket="b", Key="k", Body=b"1")
    with pytest.raises(ClientError, match="InvalidRequest"):
        s3.copy_object(Bucket="b", Key="k", CopySource="b/k")
    s3.copy_object(
        Bucket="b", Key="k", CopySource="b/k", MetadataDirective="REPLACE", ContentType="text/csv"
    )
    assert s3.head_object(Bucket="b", Key="k")["ContentType"] == "text/csv"
    assert s3.get_object(Bucket="b", Key="k")["Body"].read() == b"1"


def tags_of(s3: Any, key: str) -> dict[str, str]:
    tags = s3.get_object_tagging(Bucket="b", Key=key)["TagSet"]
    return {tag["Key"]: tag["Value"] for tag in tags}


def test_tags_come_with_an_object_and_go_with_it(s3: Any) -> None:
    s3.put_object(Bucket="b", Key="k", Body=b"1", Tagging="a=1&b=x%20y")
    s3.copy_object(Bucket="b", Key="copy", CopySource="b/k")
    assert tags_of(s3, "k") == tags_of(s3, "copy") == {"a": "1", "b": "x y"}
    s3.delete_object(Bucket="b", Key="k")
    for key in ("k", "copy"):
        s3.put_object(Bucket="b", Key=key, Body=b"2")
        assert tags_of(s3, key) == {}


def test_a_file_dropped_in_by_hand_can_be_tagged(s3: Any, box: Any) -> None:
    (box.home / "s3" / "b" / "by-hand.txt").write_text("hello")
    tag = {"Key": "a", "Value": "1"}
    s3.put_object_tagging(Bucket="b", Key="by-hand.txt", Tagging={"TagSet": [tag]})
    assert tags_of(s3, "by-hand.txt") == {"a": "1"}
    s3.delete_object_tagging(Bucket="b", Key="by-hand.txt")
    assert tags_of(s3, "by-hand.txt") == {}


@pytest.mark.parametrize("header", ["bytes=5-2", "bytes=-", "lines=1-2"])
def test_a_range_that_makes_no_sense_is_ignored(s3: Any, header: str) -> None:
    s3.put_object(Bucket="b", Key="k", Body=b"0123456789")
    answer = s3.get_object(Bucket="b", Key="k", Range=header)
    assert answer["Body"].read() == b"0123456789"
    assert "ContentRange" not in answer


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=-0"])
def test_a_range_of_nothing_is_refused(s3: Any, header: str) -> None:
    s3.put_object(Bucket="b", Key="k", Body=b"0123456789")
    with pytest.raises(ClientError, match="InvalidRange"):
        s3.get_object(Bucket="b", Key="k", Range=header)


@pytest.mark.parametrize("call", ["get_object", "head_object"])
def test_an_object_that_is_known_already_is_not_sent(s3: Any, call: str) -> None:
    etag = s3.put_object(Bucket="b", Key="k", Body=b"1")["ETag"]
    ask, modified = getattr(s3, call), s3.head_object(Bucket="b", Key="k")["LastModified"]
    for condition in ({"IfNoneMatch": etag}, {"IfModifiedSince": modified}):
        with pytest.raises(ClientError) as caught:
            ask(Bucket="b", Key="k", **condition)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 304
    with pytest.raises(ClientError) as caught:
        ask(Bucket="b", Key="k", IfMatch='"another"')
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    answer = ask(Bucket="b", Key="k", IfNoneMatch='"another"')
    assert answer["ETag"] == etag
    if call == "get_object":
        assert answer["Body"].read() == b"1"


def test_an_upload_in_parts_is_named_by_the_digests_of_its_parts(s3: Any) -> None:
    upload = {"Bucket": "b", "Key": "k"}
    upload["UploadId"] = s3.create_multipart_upload(**upload, Tagging="a=1")["UploadId"]
    etags = [s3.upload_part(**upload, PartNumber=n, Body=b"%d" % n)["ETag"] for n in (1, 2)]
    assert etags == [f'"{md5(b"%d" % n).hexdigest()}"' for n in (1, 2)]
    named = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
    answer = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": named})
    whole = md5(md5(b"1").digest() + md5(b"2").digest()).hexdigest()
    assert answer["ETag"] == s3.head_object(Bucket="b", Key="k")["ETag"] == f'"{whole}-2"'
    assert tags_of(s3, "k") == {"a": "1"}
