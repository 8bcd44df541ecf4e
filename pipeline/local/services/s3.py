"""S3: the operations that the SDK, boto3's transfers and the jobs use."""

from __future__ import annotations

import io
import os
import shutil
from typing import IO, Any
from urllib.parse import urlencode

from botocore.response import StreamingBody

from pipeline.local.account import Account, answers
from pipeline.local.errors import ServiceError
from pipeline.local.objects import Entry
from pipeline.local.services.s3_headers import byte_range, check_conditions, read_tagging
from pipeline.local.store import Document

CONTENT_TYPE = "binary/octet-stream"


def stream(body: Any) -> IO[bytes]:
    """A request body, whatever form the caller gave it in, as a binary stream."""
    if isinstance(body, str):
        body = body.encode()
    if isinstance(body, bytes | bytearray):
        return io.BytesIO(body)
    file: IO[bytes] = body
    return file


class _SelfClosing(io.FileIO):
    """A file that closes itself when it is read to its end, as a network response does."""

    def read(self, size: int | None = -1) -> bytes:
        if self.closed:
            return b""
        data = super().read(-1 if size is None else size)
        if size is None or size < 0 or not data:
            self.close()
        return data or b""


@answers("s3:CreateBucket")
def create_bucket(account: Account, request: Document) -> Document:
    account.objects.create_bucket(request["Bucket"])
    return {"Location": f"/{request['Bucket']}"}


@answers("s3:ListBuckets")
def list_buckets(account: Account, request: Document) -> Document:
    return {
        "Buckets": [
            {"Name": folder.name, "CreationDate": folder.stat().st_ctime}
            for folder in account.objects.buckets()
        ],
        "Owner": {"ID": account.id},
    }


@answers("s3:HeadBucket")
def head_bucket(account: Account, request: Document) -> Document:
    try:
        account.objects.bucket(request["Bucket"])
    except ServiceError as error:
        raise ServiceError("404", "Not Found", 404) from error
    return {"BucketRegion": account.region}


@answers("s3:GetBucketLocation")
def get_bucket_location(account: Account, request: Document) -> Document:
    account.objects.bucket(request["Bucket"])
    return {}


@answers("s3:DeleteBucket")
def delete_bucket(account: Account, request: Document) -> Document:
    folder = account.objects.bucket(request["Bucket"])
    if account.objects.list(request["Bucket"]):
        raise ServiceError("BucketNotEmpty", "The bucket you tried to delete is not empty", 409)
    shutil.rmtree(folder)
    return {}


def store_object(
    account: Account, request: Document, source: IO[bytes], etag: str = ""
) -> tuple[Entry, str]:
    """Store a stream and, as one change, what the file itself cannot say; the object and its ETag.

    `ModifiedNs` tells whether what is kept is still about the file.
    """
    bucket, key = request["Bucket"], request["Key"]
    account.objects.path(bucket, key)  # what cannot be is refused before its bytes are read
    with account.objects.draft(source) as (draft, digest), account.store.transaction():
        entry = account.objects.place(draft, bucket, key)
        kept = {
            "ETag": f'"{etag or digest}"',
            "ContentType": request.get("ContentType", CONTENT_TYPE),
            "Metadata": request.get("Metadata", {}),
            "Tags": read_tagging(request.get("Tagging", "")),
            "ModifiedNs": entry.modified_ns,
        }
        account.store.put("object", f"{bucket}/{key}", kept)
    return entry, kept["ETag"]


def kept_about(account: Account, bucket: str, entry: Entry) -> Document:
    """What is kept about an object beside its file; made up for one that came by another way."""
    kept = account.store.get("object", f"{bucket}/{entry.key}") or {}
    if kept.get("ModifiedNs") != entry.modified_ns:  # written by a job, or by hand
        etag = f'"{entry.modified_ns:x}-{entry.size_bytes:x}"'
        kept = {"ETag": etag, "ModifiedNs": entry.modified_ns}
    return {"ContentType": CONTENT_TYPE, "Metadata": {}, "Tags": {}, **kept}


def description(account: Account, bucket: str, entry: Entry) -> Document:
    """What HeadObject says of an object."""
    return {
        **kept_about(account, bucket, entry),
        "ContentLength": entry.size_bytes,
        "LastModified": entry.modified,
        "AcceptRanges": "bytes",
    }


@answers("s3:PutObject")
def put_object(account: Account, request: Document) -> Document:
    bucket, key = request["Bucket"], request["Key"]
    if "IfNoneMatch" not in request and "IfMatch" not in request:
        return _put(account, request)
    with account.store.transaction():  # no other write may come between the look and the change
        there = account.objects.path(bucket, key).is_file()
        etag = head_object(account, {"Bucket": bucket, "Key": key})["ETag"] if there else None
        if ("IfNoneMatch" in request and there) or etag != request.get("IfMatch", etag):
            raise ServiceError(
                "PreconditionFailed",
                "At least one of the pre-conditions you specified did not hold",
                412,
            )
        return _put(account, request)


def _put(account: Account, request: Document) -> Document:
    _, etag = store_object(account, request, stream(request.get("Body", b"")))
    return {"ETag": etag}


@answers("s3:HeadObject")
def head_object(account: Account, request: Document) -> Document:
    try:
        entry = account.objects.entry(request["Bucket"], request["Key"])
    except ServiceError as error:
        raise ServiceError("404", "Not Found", 404) from error
    answer = description(account, request["Bucket"], entry)
    check_conditions(request, answer)
    return answer


@answers("s3:GetObject")
def get_object(account: Account, request: Document) -> Document:
    entry, file = account.objects.open(request["Bucket"], request["Key"])
    with file:
        answer = description(account, request["Bucket"], entry)
        check_conditions(request, answer)
        wanted = byte_range(request.get("Range", ""), entry.size_bytes)
        if wanted is None:
            body = _SelfClosing(os.dup(file.fileno()))
            return {**answer, "Body": StreamingBody(body, entry.size_bytes)}
        first, last = wanted
        file.seek(first)
        data = file.read(last - first + 1)
    return {
        **answer,
        "ContentRange": f"bytes {first}-{last}/{entry.size_bytes}",
        "ContentLength": len(data),
        "Body": StreamingBody(io.BytesIO(data), len(data)),
    }


@answers("s3:DeleteObject")
def delete_object(account: Account, request: Document) -> Document:
    with account.store.transaction():  # a put of the same key comes before or after
        account.objects.delete(request["Bucket"], request["Key"])
        account.store.delete("object", f"{request['Bucket']}/{request['Key']}")
    return {}


@answers("s3:DeleteObjects")
def delete_objects(account: Account, request: Document) -> Document:
    keys = [item["Key"] for item in request["Delete"]["Objects"]]
    for key in keys:
        delete_object(account, {"Bucket": request["Bucket"], "Key": key})
    return {"Deleted": [{"Key": key} for key in keys]}


def copy_source(request: Document) -> tuple[str, str]:
    """Bucket and key that a request copies from, given in either form."""
    source = request["CopySource"]
    if isinstance(source, str):
        bucket, _, key = source.lstrip("/").partition("/")
        return bucket, key
    return source["Bucket"], source["Key"]


@answers("s3:CopyObject")
def copy_object(account: Account, request: Document) -> Document:
    bucket, key = copy_source(request)
    entry, file = account.objects.open(bucket, key)
    with file:
        kept = kept_about(account, bucket, entry)
        about = {**request, **_copied(kept, request)}
        if (bucket, key) == (request["Bucket"], request["Key"]) and not _is_replaced(request):
            raise ServiceError(
                "InvalidRequest",
                "This copy request is illegal because it is trying to copy an object to itself "
                "without changing the object's metadata (MetadataDirective REPLACE)",
            )
        copy, etag = store_object(account, about, file)
    return {"CopyObjectResult": {"ETag": etag, "LastModified": copy.modified}}


def _is_replaced(request: Document) -> bool:
    return request.get("MetadataDirective") == "REPLACE"


def _copied(kept: Document, request: Document) -> Document:
    """What the copy has of the source's: metadata and tags, each unless it is to be replaced."""
    about: Document = {}
    if not _is_replaced(request):
        about |= {"ContentType": kept["ContentType"], "Metadata": kept["Metadata"]}
    if request.get("TaggingDirective") != "REPLACE":
        about["Tagging"] = urlencode(kept["Tags"])
    return about


@answers("s3:PutObjectTagging")
def put_object_tagging(account: Account, request: Document) -> Document:
    tags = {tag["Key"]: tag["Value"] for tag in request["Tagging"]["TagSet"]}
    _set_tags(account, request, tags)
    return {}


@answers("s3:GetObjectTagging")
def get_object_tagging(account: Account, request: Document) -> Document:
    entry = account.objects.entry(request["Bucket"], request["Key"])
    tags = kept_about(account, request["Bucket"], entry)["Tags"]
    return {"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}


@answers("s3:DeleteObjectTagging")
def delete_object_tagging(account: Account, request: Document) -> Document:
    _set_tags(account, request, {})
    return {}


def _set_tags(account: Account, request: Document, tags: Document) -> None:
    bucket, key = request["Bucket"], request["Key"]
    with account.store.transaction():
        kept = kept_about(account, bucket, account.objects.entry(bucket, key))
        account.store.put("object", f"{bucket}/{key}", {**kept, "Tags": tags})
