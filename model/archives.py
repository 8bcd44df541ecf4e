"""Reading tar archives that nobody vouches for, member by member, without extracting.

Only regular files and directories with plain relative names are let through. Links, devices,
sparse files, `..`, absolute and repeated names, members over the limits and archives that
inflate beyond reason are refused, and so is a damaged archive, before the caller sees more.

`tarfile` would not do: it ends silently at a damaged header in the middle of an archive, its
extraction filters have been escaped (CVE-2025-4517), and it takes six times as long a header.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import ArchiveError

BLOCK = tarfile.BLOCKSIZE
_END = bytes(BLOCK)
_PIECE = 1 << 20
_FILE_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_LONG_NAME_BYTES = 4096
_FEW = 1 << 14  # names
_REFUSED = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


@dataclass(frozen=True)
class ArchiveLimits:
    """Sizes in bytes after decompression. `read` bounds a member that is read to memory."""

    read_bytes: int = 1 << 20
    member_bytes: int = 256 << 20
    total_bytes: int = 16 << 30
    members: int = 4_000_000
    # gzip's best is about 1,030; text reaches 4, a long run of one letter far more
    ratio: int = 100
    ratio_free_bytes: int = 64 << 20


Wanted = Callable[[str], bool]


class Header(NamedTuple):
    name: str
    size: int
    type: bytes


def parse_header(block: bytes) -> Header:
    """A header of the ustar or GNU form (POSIX.1-2001, pax). Raises ValueError for any other."""
    if sum(block) - sum(block[148:156]) + 8 * ord(" ") != _octal(block[148:156]):
        raise ValueError("checksum")
    if block[257:262] != b"ustar":
        raise ValueError("magic")
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and block[345]:
        name = f"{_text(block[345:500])}/{name}"
    return Header(name, _octal(block[124:136]), block[156:157])


def _octal(field: bytes) -> int:
    digits = field.rstrip(b"\0 ").lstrip(b" ")
    if not digits.isdigit():  # neither a sign nor GNU's binary form for sizes over 8 GB
        raise ValueError("number")
    return int(digits, 8)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def read_archive(
    path: Path, wanted: Wanted, limits: ArchiveLimits | None = None
) -> Iterator[tuple[str, bytes]]:
    """Name and content of every wanted file of a `.tar` or `.tar.gz`, in the archive's order.

    Raises ArchiveError at the first member that is hostile or damaged. Members before it have
    been yielded by then, so a caller keeps what it makes of them aside until the end.
    """
    try:
        with path.open("rb") as raw, _decompressed(path, raw) as stream:
            reader = _Reader(path, stream, limits or ArchiveLimits(), path.stat().st_size)
            yield from reader.files(wanted)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ArchiveError(f"{path.name}: the archive is truncated or corrupt") from error


def _decompressed(path: Path, raw: BinaryIO) -> BinaryIO:
    start = raw.read(BLOCK)
    raw.seek(0)
    if start[:2] == b"\x1f\x8b":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw), _PIECE)
    if start[257:262] == b"ustar":
        return raw
    raise ArchiveError(f"{path.name}: is not a .tar or .tar.gz archive")


class _Names:
    """Which names there have been: eight bytes of each, since whole they would outgrow the rest.

    Two of a million names are taken for one with a probability of 3e-8. Then a good archive is
    refused; a name that does occur twice is never let through.
    """

    def __init__(self) -> None:
        self._few: set[int] = set()
        self._many: NDArray[np.int64] = np.empty(0, np.int64)  # in order

    def __len__(self) -> int:
        return len(self._few) + len(self._many)

    def add(self, name: str) -> bool:
        """Add a name; whether there has been none like it."""
        found = hash(name)
        place = self._many.searchsorted(found)
        if found in self._few or (place < len(self._many) and self._many[place] == found):
            return False
        self._few.add(found)
        if len(self._few) >= _FEW:
            few = np.sort(np.fromiter(self._few, np.int64, len(self._few)))
            self._many = np.concatenate([self._many, few])
            self._many.sort(kind="stable")  # which is quick with what is in order already
            self._few.clear()
        return True


class _Reader:
    """One pass over one archive."""

    def __init__(
        self, path: Path, stream: BinaryIO, limits: ArchiveLimits, packed_bytes: int
    ) -> None:
        self._where = path.name
        self._stream = stream
        self._limits = limits
        self._budget = min(
            limits.total_bytes, max(limits.ratio_free_bytes, limits.ratio * packed_bytes)
        )
        self._seen = _Names()

    def files(self, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
        long_name: str | None = None
        while True:
            block = self._read(BLOCK)
            if block == _END:
                return self._drain()
            header = self._parse(block)
            if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
                long_name = self._long_name(header) or long_name
            elif header.type == tarfile.XGLTYPE:
                self._skip(header.size)
            else:
                name = self._admit(header, long_name or header.name)
                long_name = None
                if header.type in _FILE_TYPES and wanted(name):
                    yield name, self._content(header, name)
                else:
                    self._skip(header.size)

    def _parse(self, block: bytes) -> Header:
        try:
            return parse_header(block)
        except ValueError as error:
            raise self._refuse("the archive is truncated or corrupt") from error

    def _admit(self, header: Header, name: str) -> str:
        shown = ascii(name[:80])
        if header.type != tarfile.DIRTYPE and header.type not in _FILE_TYPES:
            kind = _REFUSED.get(header.type, "neither a file nor a directory")
            raise self._refuse(f"member {shown} is {kind}")
        parts = name.rstrip("/").split("/")
        if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
            raise self._refuse(f"member {shown} has a path that leads outside the archive")
        plain = "/".join(part for part in parts if part not in ("", "."))
        if not self._seen.add(plain) and header.type != tarfile.DIRTYPE:
            raise self._refuse(f"member {shown} occurs twice")
        if len(self._seen) > self._limits.members:
            raise self._refuse(f"holds more than {self._limits.members} members")
        if header.size > self._limits.member_bytes:
            raise self._refuse(
                f"member {shown} is {header.size} bytes; at most {self._limits.member_bytes} are"
                " allowed"
            )
        return plain

    def _content(self, header: Header, name: str) -> bytes:
        if header.size > self._limits.read_bytes:
            raise self._refuse(
                f"member {name[:80]!a} is {header.size} bytes; at most"
                f" {self._limits.read_bytes} are allowed"
            )
        return self._read(header.size + -header.size % BLOCK)[: header.size]

    def _long_name(self, header: Header) -> str | None:
        if header.size > _LONG_NAME_BYTES:
            raise self._refuse("a member's name is too long")
        data = self._content(header, "name")
        if header.type == tarfile.GNUTYPE_LONGNAME:
            return data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        records = self._pax_records(data)
        if any(key == "size" or key.startswith("GNU.sparse") for key in records):
            raise self._refuse("a member's size is given in a form that is not supported")
        return records.get("path")

    def _pax_records(self, data: bytes) -> dict[str, str]:
        """`<length> <key>=<value>\\n` records (POSIX.1-2001, pax interchange format)."""
        records: dict[str, str] = {}
        while data:
            length, _, _ = data.partition(b" ")
            if not length.isdigit() or len(length) > 5 or not 0 < int(length) <= len(data):
                raise self._refuse("the archive is truncated or corrupt")
            record = data[len(length) + 1 : int(length) - 1]
            key, _, value = record.decode("utf-8", "surrogateescape").partition("=")
            records[key] = value
            data = data[int(length) :]
        return records

    def _read(self, size: int) -> bytes:
        self._budget -= size
        if self._budget < 0:
            raise self._refuse("inflates beyond what is allowed")
        data = self._stream.read(size)
        if len(data) < size:
            raise self._refuse("the archive is truncated or corrupt")
        return data

    def _skip(self, size: int) -> None:
        left = size + -size % BLOCK
        while left > 0:
            left -= len(self._read(min(left, _PIECE)))

    def _drain(self) -> None:
        """Only zeros may follow the end; reading on also checks gzip's own checksum."""
        while piece := self._stream.read(_PIECE):
            self._budget -= len(piece)
            if self._budget < 0:
                raise self._refuse("inflates beyond what is allowed")
            if piece.count(0) != len(piece):
                raise self._refuse("holds data after its end")

    def _refuse(self, reason: str) -> ArchiveError:
        return ArchiveError(f"{self._where}: {reason}")
