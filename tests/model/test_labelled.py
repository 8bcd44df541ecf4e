from pathlib import Path

import pytest

from model.errors import DataError
from model.labelled import read_labelled


def table(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        'Text,Sentiment\n"Good, really",Positive\nbad,Negative\n',
        'review,sentiment\n"Good, really",pos\nbad,neg\n',
        'label,id,text\n1,a,"Good, really"\n0,b,bad\n',
        "Sentiment\tText\nPositive\tGood, really\nNegative\tbad\n",
        '\ufeffText,Sentiment\r\n"Good, really",positive\r\n\r\nbad,negative\r\n',
    ],
)
def test_every_documented_form_is_read(tmp_path: Path, content: str) -> None:
    assert read_labelled(table(tmp_path, content)) == (["Good, really", "bad"], [1, 0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"table\.csv: its first row must name the columns Text,Sentiment or"),
        ("a,b\n1,2\n", "its first row must name the columns"),
        ("text,label\n", "holds no rows"),
        (
            "text,label\nfine,1\nsecret canary,maybe\n",
            r"row 2 \(line 3\) has no valid label; valid are",
        ),
        ("text,label\nfine\n", r"row 1 \(line 2\) has too few columns"),
        ("text,label\nd\xe9j\xe0,1\n".encode("latin-1"), "is not UTF-8 text"),
        ("text,label\n" + "x" * (2 << 20) + ",1\n", "is no valid table after line 1: field larger"),
        ('text\tlabel\n"fine\t1\ndull\t0\n', r"after line 1: unexpected end of data \(a text that"),
    ],
)
def test_bad_tables_are_refused_without_their_text(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_labelled(table(tmp_path, content))
    assert "canary" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        read_labelled(tmp_path / "none.csv")
