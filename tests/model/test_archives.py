import gzip
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import archives
from model.archives import BLOCK, ArchiveLimits, parse_header, read_archive
from model.errors import ArchiveError
from tests.model.factory import Member, archive_bytes, corpus, member, tar_bytes

INSIDE = member("top/train/pos/1_9.txt", b"fine")


def read(path: Path, limits: ArchiveLimits | None = None) -> dict[str, bytes]:
    return dict(read_archive(path, lambda name: name.endswith(".txt"), limits))


def written(folder: Path, data: bytes) -> Path:
    path = folder / "data.tar.gz"
    path.write_bytes(data)
    return path


def pax(name: str, headers: dict[str, str]) -> Member:
    info, data = member(name, b"x")
    info.pax_headers = headers
    return info, data


def test_only_wanted_files_are_read_whatever_the_compression(tmp_path: Path) -> None:
    files = corpus(2)
    expected = {name: data for name, data in files.items() if name.endswith(".txt")}
    assert read(written(tmp_path, archive_bytes(files))) == expected
    assert read(written(tmp_path, gzip.decompress(archive_bytes(files)))) == expected


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_are_read(tmp_path: Path, form: int) -> None:
    name = "top/" + "é" * 120 + "/1.txt"
    directory = member("top/", kind=tarfile.DIRTYPE)
    data = tar_bytes([directory, member(name, b"fine")], form)
    assert read(written(tmp_path, data)) == {name: b"fine"}


HOSTILE: dict[str, tuple[list[Member], str]] = {
    "dotdot": ([member("../evil.txt", b"x")], "leads outside"),
    "dotdot further down": ([member("a/b/../../../evil.txt", b"x")], "leads outside"),
    "absolute": ([member("/tmp/evil.txt", b"x")], "leads outside"),  # noqa: S108
    "backslash": ([member("..\\evil.txt", b"x")], "leads outside"),
    "symbolic link": ([member("a.txt", kind=tarfile.SYMTYPE, link="/etc/passwd")], "symbolic"),
    "hard link": ([member("a.txt", kind=tarfile.LNKTYPE, link="/etc/passwd")], "hard link"),
    "character device": ([member("a.txt", kind=tarfile.CHRTYPE)], "a device"),
    "block device": ([member("a.txt", kind=tarfile.BLKTYPE)], "a device"),
    "pipe": ([member("a.txt", kind=tarfile.FIFOTYPE)], "a pipe"),
    "sparse file": ([member("a.txt", kind=tarfile.GNUTYPE_SPARSE)], "a sparse file"),
    "unknown type": ([member("a.txt", kind=b"Z")], "neither a file"),
    "twice": ([INSIDE, INSIDE], "occurs twice"),
    "twice under two spellings": ([INSIDE, member("./" + INSIDE[0].name)], "occurs twice"),
    "file over a directory": ([member("a", kind=tarfile.DIRTYPE), member("a")], "occurs twice"),
    "larger than a review": ([member("a.txt", bytes(2 << 20))], "are allowed"),
    "link with a long name": (
        [member("a" * 200, kind=tarfile.SYMTYPE, link="b" * 200)],
        "neither a file|symbolic",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_members_are_refused(tmp_path: Path, case: str) -> None:
    members, reason = HOSTILE[case]
    path = written(tmp_path, gzip.compress(tar_bytes([*members], tarfile.GNU_FORMAT)))
    with pytest.raises(ArchiveError, match=rf"data\.tar\.gz: .*({reason})"):
        read(path)
    assert [file.name for file in tmp_path.iterdir()] == ["data.tar.gz"]


@pytest.mark.parametrize("repeated", [0, 3, 4, 18])
def test_a_name_occurs_twice_however_many_lie_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeated: int
) -> None:
    monkeypatch.setattr(archives, "_FEW", 4)
    names = [f"{number}.txt" for number in range(19)]
    good = gzip.compress(tar_bytes([member(name) for name in names], tarfile.GNU_FORMAT))
    assert list(read(written(tmp_path, good))) == names
    members = [member(name) for name in [*names, names[repeated]]]
    path = written(tmp_path, gzip.compress(tar_bytes(members, tarfile.GNU_FORMAT)))
    with pytest.raises(ArchiveError, match=rf"member '{repeated}.txt' occurs twice"):
        read(path)


def test_names_take_little_memory() -> None:
    """As strings in a set, about a hundred bytes each."""
    names = archives._Names()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        assert all(names.add(f"aclImdb/train/unsup/{number}_0.txt") for number in range(100_000))
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(names) == 100_000
    assert kept < 25 * len(names)


@pytest.mark.parametrize(
    "headers",
    [{"path": "../evil.txt"}, {"path": "/evil.txt"}, {"size": "99"}, {"GNU.sparse.major": "1"}],
)
def test_extended_headers_hide_nothing(tmp_path: Path, headers: dict[str, str]) -> None:
    data = tar_bytes([pax("a.txt", headers)], tarfile.PAX_FORMAT)
    with pytest.raises(ArchiveError, match=r"outside|not supported"):
        read(written(tmp_path, data))


def test_damaged_extended_headers_are_refused(tmp_path: Path) -> None:
    data = tar_bytes([member("a", b"99999 path=x\n", kind=tarfile.XHDTYPE), INSIDE])
    with pytest.raises(ArchiveError, match="truncated or corrupt"):
        read(written(tmp_path, data))


def test_an_endless_name_is_refused(tmp_path: Path) -> None:
    data = tar_bytes([member("a", b"x" * 10_000, kind=tarfile.GNUTYPE_LONGNAME), INSIDE])
    with pytest.raises(ArchiveError, match="name is too long"):
        read(written(tmp_path, data))


def test_global_headers_are_passed_over(tmp_path: Path) -> None:
    data = tar_bytes([member("g", b"19 comment=release\n", kind=tarfile.XGLTYPE), INSIDE])
    assert read(written(tmp_path, data)) == {INSIDE[0].name: b"fine"}


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ArchiveLimits(members=3), "more than 3 members"),
        (ArchiveLimits(member_bytes=2), "at most 2"),
        (ArchiveLimits(total_bytes=2000), "inflates beyond"),
    ],
)
def test_limits_hold(tmp_path: Path, limits: ArchiveLimits, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason):
        read(written(tmp_path, archive_bytes(corpus(2))), limits)


@pytest.mark.parametrize("name", ["bomb.bin", "bomb.txt"])
def test_a_bomb_is_refused(tmp_path: Path, name: str) -> None:
    limits = ArchiveLimits(read_bytes=8 << 20, ratio_free_bytes=1 << 20)
    path = written(tmp_path, archive_bytes({name: bytes(4 << 20)}))
    with pytest.raises(ArchiveError, match="inflates beyond"):
        read(path, limits)


def test_a_bomb_behind_the_end_is_refused(tmp_path: Path) -> None:
    data = gzip.compress(tar_bytes([INSIDE]) + bytes(4 << 20))
    with pytest.raises(ArchiveError, match="inflates beyond"):
        read(written(tmp_path, data), ArchiveLimits(ratio_free_bytes=1 << 20))


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.1])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_truncated_archive_is_refused(tmp_path: Path, kept: float, compressed: bool) -> None:
    packed = archive_bytes(corpus(3))
    # without compression only the padding after the end may go unnoticed
    data = packed if compressed else gzip.decompress(packed)[: -16 * BLOCK]
    with pytest.raises(ArchiveError, match=r"data\.tar\.gz: .*(truncated|not a)"):
        read(written(tmp_path, data[: int(len(data) * kept)]))


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    data = bytearray(archive_bytes(corpus(3)))
    data[len(data) // 2] ^= 1
    with pytest.raises(ArchiveError, match=r"data\.tar\.gz"):
        read(written(tmp_path, bytes(data)))


def test_a_damaged_header_in_the_middle_is_no_end(tmp_path: Path) -> None:
    data = bytearray(tar_bytes([INSIDE, member("other.txt", b"x")]))
    data[2 * BLOCK] ^= 1
    with pytest.raises(ArchiveError, match="truncated or corrupt"):
        read(written(tmp_path, gzip.compress(bytes(data))))


def test_a_negative_size_is_refused(tmp_path: Path) -> None:
    block = bytearray(member("a.txt")[0].tobuf())
    block[124:136] = b"\xff" * 12
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(ArchiveError, match="truncated or corrupt"):
        read(written(tmp_path, bytes(block) + bytes(2 * BLOCK)))


@given(st.binary(min_size=BLOCK, max_size=BLOCK))
def test_no_block_makes_the_parser_stumble(block: bytes) -> None:
    with pytest.raises(ValueError, match=r"checksum|number"):
        parse_header(block)


@pytest.mark.parametrize("name", ["short.txt", "d" * 90 + "/" + "n" * 90, "é" * 49])
def test_headers_are_read_as_tarfile_wrote_them(name: str) -> None:
    info = member(name, b"four", kind=tarfile.CONTTYPE)[0]
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT):
        header = parse_header(info.tobuf(form)[-BLOCK:])
        assert header.name == (name if form == tarfile.USTAR_FORMAT else name[:100])
        assert (header.size, header.type) == (4, tarfile.CONTTYPE)


def test_data_after_the_end_is_refused(tmp_path: Path) -> None:
    data = tar_bytes([INSIDE]) + tar_bytes([member("../evil.txt", b"x")])
    with pytest.raises(ArchiveError, match="data after its end"):
        read(written(tmp_path, gzip.compress(data)))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04zip", b"<html>" * 200])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"is not a \.tar or \.tar\.gz archive"):
        read(written(tmp_path, data))
