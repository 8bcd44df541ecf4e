"""Reviews out of an archive or a folder that is laid out like the IMDB archive."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from model.archives import ArchiveLimits, read_archive
from model.errors import DataError
from model.files import sha256_of

POSITIVE, NEGATIVE, UNLABELLED = 1, 0, -1
LABELS = {"pos": POSITIVE, "neg": NEGATIVE}
LAYOUT = "train/pos/*.txt, train/neg/*.txt, test/pos/*.txt, test/neg/*.txt"
_ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")
_MAX_REVIEW_BYTES = 1 << 20

# where a review lies in the layout -> (split, label)
_PLACES = {
    ("train", "pos"): ("train", POSITIVE),
    ("train", "neg"): ("train", NEGATIVE),
    ("train", "unsup"): ("unlabelled", UNLABELLED),
    ("test", "pos"): ("test", POSITIVE),
    ("test", "neg"): ("test", NEGATIVE),
}


class Review(NamedTuple):
    """`split` is train, test, unlabelled or counterfactual; `data` is not yet decoded."""

    name: str
    split: str
    label: int
    data: bytes


@dataclass(frozen=True)
class Source:
    """One archive or one folder of reviews."""

    path: Path
    is_archive: bool

    def size_bytes(self) -> int:
        if self.is_archive:
            return self.path.stat().st_size
        return sum(file.stat().st_size for _, file in _review_files(self.path))

    def sha256(self) -> str | None:
        """Of the archive; a folder has none."""
        return sha256_of(self.path) if self.is_archive else None

    def reviews(self) -> Iterator[Review]:
        """In the archive's order, or by path for a folder."""
        if self.is_archive:
            limits = ArchiveLimits(read_bytes=_MAX_REVIEW_BYTES)
            for name, data in read_archive(self.path, lambda name: bool(_place(name)), limits):
                yield _review(name, data)
        else:
            for name, file in _review_files(self.path):
                if file.stat().st_size > _MAX_REVIEW_BYTES:
                    raise DataError(f"{name}: a review may have {_MAX_REVIEW_BYTES} bytes")
                yield _review(name, file.read_bytes())


def find_source(folder: Path) -> Source:
    """The one archive in a folder, or the folder itself."""
    if not folder.exists():
        raise DataError(f"{folder}: no such folder")
    if folder.is_file():
        return Source(folder, is_archive=True)
    archives = sorted(
        file
        for file in folder.iterdir()
        if file.name.endswith(_ARCHIVE_SUFFIXES) and file.is_file()
    )
    if len(archives) > 1:
        names = ", ".join(file.name for file in archives)
        raise DataError(f"{folder}: holds more than one archive ({names}); one is wanted")
    if archives:
        return Source(archives[0], is_archive=True)
    return Source(folder, is_archive=False)


def limited(reviews: Iterator[Review], limit: int) -> Iterator[Review]:
    """The first `limit` of each split, half of them positive; 0 is no limit.

    The rest is read too, so that a bad member is found wherever it lies.
    """
    if limit == 0:
        yield from reviews
        return
    room = Counter[tuple[str, int]]()
    for split in ("train", "test"):
        room[split, POSITIVE] = limit - limit // 2
        room[split, NEGATIVE] = limit // 2
    room["unlabelled", UNLABELLED] = limit
    for review in reviews:
        if room[review.split, review.label] > 0:
            room[review.split, review.label] -= 1
            yield review


def check_counts(counts: Counter[tuple[str, int]], where: str) -> None:
    """Both splits need reviews of both classes."""
    if not sum(counts.values()):
        raise DataError(f"{where}: holds no reviews; expected {LAYOUT}")
    for split in ("train", "test"):
        for folder, label in LABELS.items():
            if not counts[split, label]:
                raise DataError(
                    f"{where}: no reviews in {split}/{folder}; both classes are needed ({LAYOUT})"
                )


def _place(name: str) -> tuple[str, int] | None:
    parts = name.rsplit("/", 3)
    if len(parts) < 3 or not parts[-1].endswith(".txt") or parts[-1].startswith("."):
        return None
    return _PLACES.get((parts[-3], parts[-2]))


def _review(name: str, data: bytes) -> Review:
    place = _place(name)
    if place is None:
        raise DataError(f"{name}: lies outside the layout {LAYOUT}")
    split, label = place
    return Review(name, split, label, data)


def _review_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Review files of a folder, at its top or one folder down; links lead anywhere, so none."""
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    for top in chain([folder], below):
        for place in sorted(_PLACES):
            directory = top.joinpath(*place)
            if directory.is_dir() and not directory.is_symlink():
                for file in sorted(directory.glob("*.txt")):
                    name = file.relative_to(folder).as_posix()
                    if file.is_symlink() or not file.is_file():
                        raise DataError(f"{name}: is not a regular file")
                    yield name, file
