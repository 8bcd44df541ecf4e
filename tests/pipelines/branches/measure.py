"""Counts the lines and the longest line of the input."""

import argparse
import json
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--input", type=Path)
parser.add_argument("--output", type=Path)
options = parser.parse_args()
lines = [line for path in options.input.iterdir() for line in path.read_text().splitlines()]
measured = {"lines": len(lines), "longest": max(map(len, lines)), "kind": "text"}
(options.output / "measured.json").write_text(json.dumps(measured))
