"""How the commands print values: JSON for scripts, numbers for people."""

from __future__ import annotations

import json
from typing import Any


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def number(value: Any) -> str:
    """A figure with four places; what is none as it is, or that it is unknown."""
    return f"{value:.4f}" if isinstance(value, int | float) else str(value or "unknown")
