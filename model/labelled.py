"""Labelled reviews from a table: CSV or TSV with a header."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from model.errors import DataError

HEADERS = (("text", "sentiment"), ("review", "sentiment"), ("text", "label"))
LABELS = {"positive": 1, "pos": 1, "1": 1, "negative": 0, "neg": 0, "0": 0}
_FORMS = "Text,Sentiment or review,sentiment or text,label"
_MAX_FIELD_BYTES = 1 << 20


def read_labelled(path: Path) -> tuple[list[str], list[int]]:
    """Texts and labels (1 positive, 0 negative) of a `.csv` or `.tsv` file.

    Raises DataError naming the row, counted from 1 below the header.
    """
    csv.field_size_limit(min(sys.maxsize, _MAX_FIELD_BYTES))
    texts: list[str] = []
    labels: list[int] = []
    rows = _rows(path)
    text_at, label_at = _columns(path, next(rows, []))
    for number, row in enumerate(rows, 1):
        if not row:
            continue
        if len(row) <= max(text_at, label_at):
            raise DataError(f"{path.name}: row {number} has too few columns")
        label = LABELS.get(row[label_at].strip().lower())
        if label is None:
            valid = "positive/negative, pos/neg or 1/0"
            raise DataError(f"{path.name}: row {number} has no valid label; valid are {valid}")
        texts.append(row[text_at])
        labels.append(label)
    if not texts:
        raise DataError(f"{path.name}: holds no rows below its header")
    return texts, labels


def _rows(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = "\t" if "\t" in file.readline() else ","
            file.seek(0)
            yield from csv.reader(file, delimiter=delimiter)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise DataError(f"{path.name}: is not UTF-8 text; convert it to UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path.name}: is no valid table: {error}") from None


def _columns(path: Path, header: list[str]) -> tuple[int, int]:
    names = [name.strip().lower() for name in header]
    for text, label in HEADERS:
        if text in names and label in names:
            return names.index(text), names.index(label)
    raise DataError(f"{path.name}: its first row must name the columns {_FORMS}")
