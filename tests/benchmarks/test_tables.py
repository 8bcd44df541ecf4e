"""The page on serving says what was measured, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks import limits, serve, tables


@pytest.mark.parametrize("page", tables.PAGES)
def test_the_pages_tables_are_what_the_results_hold(page: str) -> None:
    text = (tables.DOCS / page).read_text("utf-8")
    assert text.count("<!-- end -->") == len(tables.PAGES[page])
    assert tables.written(page) == text, "write them anew: python -m benchmarks.tables"


def test_another_result_changes_the_page(tmp_path: Path) -> None:
    for name in tables.PAGES["serving.md"]:
        shutil.copy(tables.RESULTS / f"{name}.json", tmp_path)
    result = json.loads((tmp_path / "limits.json").read_text())
    result["figures"]["found"]["back_s"] = None
    (tmp_path / "limits.json").write_text(json.dumps(result))
    page = tables.written("serving.md", tmp_path)
    assert "| after the kill: back within, s | ≤ 5 | never |" in page


def test_what_was_not_measured_yet_has_no_table(tmp_path: Path) -> None:
    page = tables.written("preprocessing.md", tmp_path)
    for name in tables.PAGES["preprocessing.md"]:
        assert f"<!-- {name} -->\n<!-- end -->" in page


def test_the_readme_names_the_accuracy_that_was_measured() -> None:
    figures = json.loads((tables.RESULTS / "accuracy.json").read_text())["figures"]
    found = figures["means"]["default parameters"]
    readme = (tables.ROOT / "README.md").read_text("utf-8")
    assert f"{found['accuracy']:.4f} on the 25,000 test reviews" in " ".join(readme.split())
    assert f"NBSVM: {found['baseline_accuracy']:.4f}" in readme


def test_every_target_has_its_label_and_its_side() -> None:
    at_least = {*serve.AT_LEAST, *limits.AT_LEAST}
    for name in serve.TARGETS | limits.TARGETS:
        assert (tables.LABELS[name][1] == "≥") == (name in at_least)


def test_every_test_that_the_page_names_is_there() -> None:
    page = (tables.DOCS / "serving.md").read_text("utf-8")
    named = re.findall(r"`((?:tests/|test_)\w[\w/.]*)`", page)
    files = {name for name in named if name.startswith("tests/")}
    assert all((tables.ROOT / name).is_file() for name in files)
    source = "".join((tables.ROOT / name).read_text("utf-8") for name in files)
    functions = [name for name in named if name.startswith("test_")]
    assert len(functions) > 10
    assert [name for name in functions if f"def {name}(" not in source] == []
