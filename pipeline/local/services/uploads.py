"""S3's rarer operations: looking at uploads in parts, copying into one, tags."""

from __future__ import annotations

import json

from pipeline.local.account import Account, answers
from pipeline.local.services.s3 import (
    UPLOAD_FILE,
    _parts_folder,
    _range,
    copy_source,
    head_object,
    part_etag,
)
from pipeline.local.store import Document


@answers("s3:UploadPartCopy")
def upload_part_copy(account: Account, request: Document) -> Document:
    entry = account.objects.entry(*copy_source(request))
    first, last = _range(request.get("CopySourceRange", ""), entry.size_bytes)
    path = _parts_folder(account, request) / f"{request['PartNumber']:05}"
    with entry.path.open("rb") as file, path.open("wb") as target:
        file.seek(first)
        target.write(file.read(last - first + 1))
    return {"CopyPartResult": {"ETag": part_etag(path), "LastModified": path.stat().st_mtime}}


@answers("s3:ListParts")
def list_parts(account: Account, request: Document) -> Document:
    parts = [
        {
            "PartNumber": int(path.name),
            "Size": path.stat().st_size,
            "ETag": part_etag(path),
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


def _tags_key(request: Document) -> str:
    return f"arn:aws:s3:::{request['Bucket']}/{request['Key']}"


@answers("s3:PutObjectTagging")
def put_object_tagging(account: Account, request: Document) -> Document:
    head_object(account, request)
    tags = {tag["Key"]: tag["Value"] for tag in request["Tagging"]["TagSet"]}
    account.store.put("tags", _tags_key(request), {"Tags": tags})
    return {}


@answers("s3:GetObjectTagging")
def get_object_tagging(account: Account, request: Document) -> Document:
    head_object(account, request)
    kept = (account.store.get("tags", _tags_key(request)) or {}).get("Tags", {})
    return {"TagSet": [{"Key": key, "Value": value} for key, value in kept.items()]}


@answers("s3:DeleteObjectTagging")
def delete_object_tagging(account: Account, request: Document) -> Document:
    account.store.delete("tags", _tags_key(request))
    return {}
