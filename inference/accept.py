"""Which media type an Accept header likes best: RFC 9110, section 12.5.1."""

import re
from collections.abc import Sequence

# RFC 9110's, and without its first digit: Java's HttpURLConnection says `*; q=.2, */*; q=.2`
_QUALITY = re.compile(r"(0(\.\d{0,3})?|\.\d{1,3}|1(\.0{0,3})?)")


def best(accept: str, offered: Sequence[str]) -> str | None:
    """Of those on offer the one that is wanted most, the first of equals; None where none is.

    Where nothing is said all are wanted, and a range that cannot be read says nothing.
    """
    ranges = dict(filter(None, map(_range, accept.split(",")))) or {"*/*": 1.0}
    wanted = {media_type: _quality(media_type, ranges) for media_type in offered}
    most = max(offered, key=wanted.__getitem__)
    return most if wanted[most] > 0 else None


def _range(text: str) -> tuple[str, float] | None:
    """A range and its quality, 1 unless said; `text/plain;q=0.5` is `text/plain` and 0.5."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    if not name:
        return None
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            value = value.strip()
            return (name, float(value)) if _QUALITY.fullmatch(value) else None
    return name, 1.0


def _quality(media_type: str, ranges: dict[str, float]) -> float:
    """That of the most specific range that it is in."""
    for name in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0
