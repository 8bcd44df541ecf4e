"""The documentation says of the account what its code says."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.local.supported import operations, tables

PAGE = Path(__file__).parents[3] / "docs" / "local-account.md"


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    match = re.search(r"<!-- tables -->\n(.*)<!-- end -->", PAGE.read_text(), re.DOTALL)
    assert match
    assert match[1] == f"{tables()}\n{operations()}", (
        "write them anew: python -m pipeline.local.supported"
    )
