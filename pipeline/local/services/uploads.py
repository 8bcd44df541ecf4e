"""S3's uploads in parts, which wait in a folder each until they are completed or aborted."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
from functools import partial
from pathlib import Path

from pipeline.local.account import Account, answers
from pipeline.local.errors import ServiceError
from pipeline.local.objects import CHUNK_BYTES
from pipeline.local.services.s3 import copy_source, store_object, stream
from pipeline.local.services.s3_headers import byte_range
from pipeline.local.store import Document

# What is said when an upload in parts begins, kept beside the parts until it is completed.
UPLOAD_FILE = "upload.json"
UPLOAD_MEMBERS = ("Bucket", "Key", "ContentType", "Metadata", "Tagging")


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
    return {"ETag": _part_etag(path)}


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
        _, etag = store_object(account, {**about, **request}, source, _whole_etag(paths))
    shutil.rmtree(folder)
    return {"Bucket": request["Bucket"], "Key": request["Key"], "ETag": etag}


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
        if not path.is_file() or (etag and etag != _part_etag(path).strip('"')):
            raise ServiceError(
                "InvalidPart", f"Part {part['PartNumber']} could not be found or is another"
            )
    return paths


def _md5(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).digest()


def _part_etag(path: Path) -> str:
    return f'"{_md5(path).hex()}"'


def _whole_etag(parts: list[Path]) -> str:
    """The ETag of an object that came in parts: the digest of their digests, and how many."""
    digests = b"".join(map(_md5, parts))
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"


@answers("s3:AbortMultipartUpload")
def abort_multipart_upload(account: Account, request: Document) -> Document:
    shutil.rmtree(_parts_folder(account, request))
    return {}


@answers("s3:UploadPartCopy")
def upload_part_copy(account: Account, request: Document) -> Document:
    path = _parts_folder(account, request) / f"{request['PartNumber']:05}"
    entry, file = account.objects.open(*copy_source(request))
    with file, path.open("wb") as target:
        size = entry.size_bytes
        first, last = byte_range(request.get("CopySourceRange", ""), size) or (0, size - 1)
        file.seek(first)
        left = last - first + 1  # one read gives 2 GiB at the most
        while left and (chunk := file.read(min(left, CHUNK_BYTES))):
            target.write(chunk)
            left -= len(chunk)
    return {"CopyPartResult": {"ETag": _part_etag(path), "LastModified": path.stat().st_mtime}}


@answers("s3:ListParts")
def list_parts(account: Account, request: Document) -> Document:
    parts = [
        {
            "PartNumber": int(path.name),
            "Size": path.stat().st_size,
            "ETag": _part_etag(path),
            "LastModified": path.stat().st_mtime,
        }
        for path in sorted(_parts_folder(account, request).glob("[0-9]*"))
    ]
    return {**{name: request[name] for name in ("Bucket", "Key", "UploadId")}, "Parts": parts,
            "IsTruncated": False}  # fmt: skip


@answers("s3:ListMultipartUploads")
def list_multipart_uploads(account: Account, request: Document) -> Document:
    account.objects.bucket(request["Bucket"])
    uploads = []
    for path in sorted(account.objects.temporary.glob(f"upload-*/{UPLOAD_FILE}")):
        about = json.loads(path.read_text())
        if about["Bucket"] == request["Bucket"] and about["Key"].startswith(
            request.get("Prefix", "")
        ):
            uploads.append(
                {
                    "Key": about["Key"],
                    "UploadId": path.parent.name.removeprefix("upload-"),
                    "Initiated": path.stat().st_mtime,
                }
            )
    return {"Bucket": request["Bucket"], "Uploads": uploads or None, "IsTruncated": False}
