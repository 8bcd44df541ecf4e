"""Writes what it was told into its output."""

import argparse
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--output", type=Path)
parser.add_argument("--message")
options = parser.parse_args()
(options.output / "published.txt").write_text(options.message)
