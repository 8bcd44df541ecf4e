"""S3: the operations that the SDK, boto3's transfers and the jobs use."""

from __future__ import annotations

import io
import json
import re
import shutil
import uuid
from pathlib import Path
from typing import IO, Any

from botocore.response import StreamingBody

from pipeline.local.account import Account, answers
from pipeline.local.errors import ServiceError
from pipeline.local.objects import Entry
from pipeline.local.store import Document

# What is said when an upload in parts begins, kept beside the parts until it is completed.
UPLOAD_FILE = "upload.json"
UPLOAD_MEMBERS = ("Bucket", "Key", "ContentType", "Metadata")
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


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


def _remember(account: Account, request: Document, entry: Entry, etag: str) -> None:
    """Keep what the file itself cannot say; `ModifiedNs` tells whether it is still about it."""
    account.store.put(
        "object",
        f"{request['Bucket']}/{request['Key']}",
        {
            "ETag": f'"{etag}"',
            "ContentType": request.get("ContentType", "binary/octet-stream"),
            "Metadata": request.get("Metadata", {}),
            "ModifiedNs": entry.modified_ns,
        },
    )


def description(account: Account, bucket: str, entry: Entry) -> Document:
    kept = account.store.get("object", f"{bucket}/{entry.key}") or {}
    if kept.get("ModifiedNs") != entry.modified_ns:  # written by a job, or by hand
        kept = {"ETag": f'"{entry.modified_ns:x}-{entry.size_bytes:x}"'}
    return {
        "ContentType": "binary/octet-stream",
        "Metadata": {},
        **kept,
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
    body = stream(request.get("Body", b""))
    entry, etag = account.objects.put(request["Bucket"], request["Key"], body)
    _remember(account, request, entry, etag)
    return {"ETag": f'"{etag}"'}


@answers("s3:HeadObject")
def head_object(account: Account, request: Document) -> Document:
    try:
        entry = account.objects.entry(request["Bucket"], request["Key"])
    except ServiceError as error:
        raise ServiceError("404", "Not Found", 404) from error
    return description(account, request["Bucket"], entry)


def _range(header: str, size: int) -> tuple[int, int]:
    """First and last byte (inclusive) of a Range header."""
    match = RANGE.fullmatch(header)
    if not match or match.groups() == ("", ""):
        return 0, size - 1
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size - 1
    if int(first) >= size:
        raise ServiceError("InvalidRange", "The requested range is not satisfiable", 416)
    return int(first), min(int(last), size - 1) if last else size - 1


@answers("s3:GetObject")
def get_object(account: Account, request: Document) -> Document:
    entry = account.objects.entry(request["Bucket"], request["Key"])
    answer = description(account, request["Bucket"], entry)
    if "Range" in request:
        first, last = _range(request["Range"], entry.size_bytes)
        with entry.path.open("rb") as file:
            file.seek(first)
            data = file.read(last - first + 1)
        return {
            **answer,
            "ContentRange": f"bytes {first}-{last}/{entry.size_bytes}",
            "ContentLength": len(data),
            "Body": StreamingBody(io.BytesIO(data), len(data)),
        }
    return {**answer, "Body": StreamingBody(_SelfClosing(entry.path), entry.size_bytes)}


@answers("s3:DeleteObject")
def delete_object(account: Account, request: Document) -> Document:
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
    entry = account.objects.entry(bucket, key)
    kept = description(account, bucket, entry)
    with entry.path.open("rb") as file:
        copy, etag = account.objects.put(request["Bucket"], request["Key"], file)
    _remember(account, {**kept, **request}, copy, etag)
    return {"CopyObjectResult": {"ETag": f'"{etag}"', "LastModified": copy.modified}}


def _parts_folder(account: Account, request: Document) -> Path:
    folder = account.objects.temporary / f"upload-{request['UploadId']}"
    if (
        not re.fullmatch(r"[0-9a-f]{32}", request["UploadId"])
        or not (folder / UPLOAD_FILE).is_file()
    ):
        raise ServiceError("NoSuchUpload", "The specified upload does not exist", 404)
    return folder


@answers("s3:CreateMultipartUpload")
def create_multipart_upload(account: Account, request: Document) -> Document:
    account.objects.bucket(request["Bucket"])
    upload_id = uuid.uuid4().hex
    folder = account.objects.temporary / f"upload-{upload_id}"
    folder.mkdir(parents=True)
    kept = {name: request[name] for name in UPLOAD_MEMBERS if name in request}
    (folder / UPLOAD_FILE).write_text(json.dumps(kept))
    return {"Bucket": request["Bucket"], "Key": request["Key"], "UploadId": upload_id}


@answers("s3:UploadPart")
def upload_part(account: Account, request: Document) -> Document:
    path = _parts_folder(account, request) / f"{request['PartNumber']:05}"
    with path.open("wb") as target:
        shutil.copyfileobj(stream(request.get("Body", b"")), target)
    return {"ETag": part_etag(path)}


@answers("s3:CompleteMultipartUpload")
def complete_multipart_upload(account: Account, request: Document) -> Document:
    folder = _parts_folder(account, request)
    about = json.loads((folder / UPLOAD_FILE).read_text())
    paths = _named_parts(folder, request.get("MultipartUpload", {}).get("Parts", []))
    whole = folder / "whole"
    with whole.open("wb") as target:
        for path in paths:
            with path.open("rb") as source:
                shutil.copyfileobj(source, target)
    with whole.open("rb") as source:
        entry, etag = account.objects.put(request["Bucket"], request["Key"], source)
    shutil.rmtree(folder)
    _remember(account, {**about, **request}, entry, etag)
    return {"Bucket": request["Bucket"], "Key": request["Key"], "ETag": f'"{etag}"'}


def _named_parts(folder: Path, parts: list[Document]) -> list[Path]:
    """The file of each part, which must have come, be the one that is meant, and be in order."""
    if not parts:
        message = "The XML you provided was not well-formed or did not validate"
        raise ServiceError("MalformedXML", message)
    numbers = [part["PartNumber"] for part in parts]
    if numbers != sorted(set(numbers)):
        message = "The list of parts was not in ascending order"
        raise ServiceError("InvalidPartOrder", message)
    paths = [folder / f"{number:05}" for number in numbers]
    for path, part in zip(paths, parts, strict=True):
        etag = str(part.get("ETag", "")).strip('"')
        if not path.is_file() or (etag and etag != part_etag(path).strip('"')):
            raise ServiceError(
                "InvalidPart", f"Part {part['PartNumber']} could not be found or is another"
            )
    return paths


def part_etag(path: Path) -> str:
    """What names the content of an uploaded part."""
    return f'"{path.stat().st_mtime_ns:x}"'


@answers("s3:AbortMultipartUpload")
def abort_multipart_upload(account: Account, request: Document) -> Document:
    shutil.rmtree(_parts_folder(account, request))
    return {}
