"""Labelled reviews from a table: CSV or TSV with a header."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from model.errors import DataError

HEADERS = (("text", "sentiment"), ("review", "sentiment"), ("text", "label"))
LABELS = {"positive": 1, "pos": 1, "1": 1, "negative": 0, "neg": 0, "0": 0}
_FORMS = "Text,Sentiment or review,sentiment or text,label"
_MAX_FIELD_BYTES = 1 << 20
_SUFFIXES = (".csv", ".tsv")
# SageMaker knows no input that may be absent: one object of this name stands for "no table".
NO_TABLE = "none"


class _Row(NamedTuple):
    """`place` is what an error says: the row below the header, and the line it ends in."""

    place: str
    fields: list[str]


def find_table(folder: Path) -> Path | None:
    """The one table of a folder, or None for one that is empty or says that there is none.

    A table itself is found as well. Raises DataError for a folder that is not there or holds
    something else.
    """
    if folder.is_file():
        return folder
    if not folder.is_dir():
        raise DataError(f"{folder}: no such table or folder")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    tables = [path for path in files if path.suffix.lower() in _SUFFIXES]
    if len(tables) > 1 or len(files) > max(1, len(tables)):
        names = ", ".join(path.name for path in files[:5])
        raise DataError(f"{folder}: one .csv or .tsv file is wanted, it holds {names}")
    if not tables and files and files[0].name != NO_TABLE:
        raise DataError(f"{folder}: {files[0].name} is not called .csv or .tsv")
    return tables[0] if tables else None


def read_labelled(path: Path) -> tuple[list[str], list[int]]:
    """Texts and labels (1 positive, 0 negative) of a `.csv` or `.tsv` file.

    Raises DataError naming the row, counted from 1 below the header, and the line of the file.
    """
    csv.field_size_limit(min(sys.maxsize, _MAX_FIELD_BYTES))
    texts: list[str] = []
    labels: list[int] = []
    rows = _rows(path)
    header = next(rows, None)
    text_at, label_at = _columns(path, header.fields if header else [])
    for place, fields in rows:
        if not fields:
            continue
        if len(fields) <= max(text_at, label_at):
            raise DataError(f"{path.name}: {place} has too few columns")
        label = LABELS.get(fields[label_at].strip().lower())
        if label is None:
            valid = "positive/negative, pos/neg or 1/0"
            raise DataError(f"{path.name}: {place} has no valid label; valid are {valid}")
        texts.append(fields[text_at])
        labels.append(label)
    if not texts:
        raise DataError(f"{path.name}: holds no rows below its header")
    return texts, labels


def _rows(path: Path) -> Iterator[_Row]:
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = "\t" if "\t" in file.readline() else ","
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for number, fields in enumerate(reader):
                line = reader.line_num
                yield _Row(f"row {number} (line {line})", fields)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise DataError(f"{path.name}: is not UTF-8 text; convert it to UTF-8") from None
    except csv.Error as error:
        raise DataError(
            f"{path.name}: is no valid table after line {line}: {error} (a text that begins with a"
            ' quotation mark ends with one, and those inside are doubled: "")'
        ) from None


def _columns(path: Path, header: list[str]) -> tuple[int, int]:
    names = [name.strip().lower() for name in header]
    for text, label in HEADERS:
        if text in names and label in names:
            return names.index(text), names.index(label)
    raise DataError(f"{path.name}: its first row must name the columns {_FORMS}")
