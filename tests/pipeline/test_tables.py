from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.parameters import TABLE_PARAMETERS, no_table_url
from pipeline.tables import check_table, resolve_table, resolve_tables
from pipeline.target import Target


def test_a_local_table_is_put_under_a_prefix_that_its_content_names(
    target: Target, tmp_path: Path
) -> None:
    table = tmp_path / "my rows.TSV"
    table.write_text("Sentiment\tText\nPositive\tgood\n")
    s3 = target.client("s3")
    url = resolve_table(str(table), s3, target.account)
    prefix = url.removeprefix(f"s3://{target.account.bucket}/")
    (found,) = s3.list_objects_v2(Bucket=target.account.bucket, Prefix=prefix)["Contents"]
    assert found["Key"] == f"{prefix}table.tsv"
    assert resolve_table(str(table), s3, target.account) == url
    assert resolve_table(url, s3, target.account) == url


def test_none_is_the_prefix_that_every_compile_fills(target: Target) -> None:
    url = no_table_url(target.account)
    assert resolve_table("none", target.client("s3"), target.account) == url
    assert resolve_table(url, target.client("s3"), target.account) == url


def test_an_empty_prefix_is_refused(target: Target) -> None:
    with pytest.raises(DataError, match="nothing lies under s3://"):
        resolve_table(f"s3://{target.account.bucket}/gone/", target.client("s3"), target.account)


def test_a_table_that_is_trained_on_is_not_to_judge_by(target: Target, tmp_path: Path) -> None:
    s3, tables = target.client("s3"), []
    for name, text in (("one", "good"), ("copy of one", "good"), ("other", "bad")):
        tables.append(tmp_path / f"{name}.tsv")
        tables[-1].write_text(f"Sentiment\tText\nPositive\t{text}\n")
    one, copy, other = map(str, tables)
    given = {"CounterfactualDataUrl": one, "CounterfactualTestUrl": other, "Seed": "1"}
    assert [*resolve_tables(given, s3, target.account)] == [*TABLE_PARAMETERS]
    with pytest.raises(DataError, match="the same table as CounterfactualDataUrl"):
        resolve_tables({**given, "CounterfactualTestUrl": copy}, s3, target.account)
    nothing = dict.fromkeys(TABLE_PARAMETERS, "none")
    assert len({*resolve_tables(nothing, s3, target.account).values()}) == 1


def test_a_missing_file_says_what_is_valid(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file at .*gone\.csv .*Text,Sentiment"):
        check_table(tmp_path / "gone.csv")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"is not called \.csv or \.tsv"):
        check_table(path)
