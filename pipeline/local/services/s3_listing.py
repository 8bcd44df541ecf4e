"""S3's listings: objects and common prefixes in pages, in both of the API's versions."""

from __future__ import annotations

from urllib.parse import quote

from pipeline.local.account import Account, answers
from pipeline.local.objects import Entry
from pipeline.local.services.s3 import description
from pipeline.local.store import Document

PAGE = 1000
# What `EncodingType` url encodes: members that hold a key, or the beginning of one.
ENCODED = ("Delimiter", "Marker", "NextMarker", "Prefix", "StartAfter", "Key")


@answers("s3:ListObjectsV2")
def list_objects_v2(account: Account, request: Document) -> Document:
    token = request.get("ContinuationToken")
    answer, last = _listed(account, request, token or request.get("StartAfter", ""))
    answer |= {
        "StartAfter": request.get("StartAfter"),
        "ContinuationToken": token,
        "KeyCount": len(answer["Contents"] or ()) + len(answer["CommonPrefixes"] or ()),
    }
    # The token is opaque: unlike a marker it is not encoded.
    return {**_encoded(answer, request), "NextContinuationToken": last}


@answers("s3:ListObjects")
def list_objects(account: Account, request: Document) -> Document:
    """The first version: its marker is the last key of the page."""
    marker = request.get("Marker", "")
    answer, last = _listed(account, request, marker)
    return _encoded({**answer, "Marker": marker, "NextMarker": last}, request)


def _listed(account: Account, request: Document, after: str) -> tuple[Document, str | None]:
    """What both versions say, and after which key the next page begins (None: there is none)."""
    bucket, prefix = request["Bucket"], request.get("Prefix", "")
    limit = min(request.get("MaxKeys", PAGE), PAGE)
    contents: list[Entry] = []
    groups: dict[str, None] = {}
    last: str | None = None
    truncated = False
    for entry in account.objects.list(bucket, prefix) if limit else ():
        group = _group(entry.key, prefix, request.get("Delimiter"))
        if (group or entry.key) <= after or group in groups:
            continue
        if len(contents) + len(groups) == limit:
            truncated = True
            break
        last = group or entry.key
        if group:
            groups[group] = None
        else:
            contents.append(entry)
    answer: Document = {
        "Name": bucket,
        "Prefix": prefix,
        "Delimiter": request.get("Delimiter"),
        "MaxKeys": limit,
        "IsTruncated": truncated,
        "CommonPrefixes": [{"Prefix": group} for group in groups] or None,
        "Contents": [_summary(account, bucket, entry) for entry in contents] or None,
    }
    return answer, last if truncated else None


def _group(key: str, prefix: str, delimiter: str | None) -> str | None:
    """The common prefix that a key is listed under, None for one that stands by itself."""
    rest = key[len(prefix) :]
    if not delimiter or delimiter not in rest:
        return None
    return prefix + rest.partition(delimiter)[0] + delimiter


def _summary(account: Account, bucket: str, entry: Entry) -> Document:
    return {
        "Key": entry.key,
        "Size": entry.size_bytes,
        "LastModified": entry.modified,
        "ETag": description(account, bucket, entry)["ETag"],
        "StorageClass": "STANDARD",
    }


def _encoded(answer: Document, request: Document) -> Document:
    """The answer with its keys as the request wants them: in a URL's form, or as they are."""
    if request.get("EncodingType") != "url":
        return answer

    def encode(document: Document) -> Document:
        return {
            name: quote(value, safe="/") if name in ENCODED and value else value
            for name, value in document.items()
        }

    inner = {
        name: [encode(item) for item in answer[name]]
        for name in ("CommonPrefixes", "Contents")
        if answer[name]
    }
    return {**encode(answer), **inner, "EncodingType": "url"}
