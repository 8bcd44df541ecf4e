"""Charts as SVG text: no library, no script, coloured by the page's own style sheet."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 480, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 10, 44
_ROW, _NAMES, _VALUES = 26, 214, 72


class Line(NamedTuple):
    """Points joined by a line; `style` is a class of the style sheet: one, two or guide.

    `radii` are those of the points' dots; without, none are drawn.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    style: str = "one"
    radii: Sequence[float] = ()


class Axis(NamedTuple):
    """What is shown along one side, from `low` to `high`, with `ticks` marked."""

    title: str
    low: float
    high: float
    ticks: Sequence[float]


class Dot(NamedTuple):
    """A value with the range of its 95 % confidence; a `size` of 0 is not shown."""

    name: str
    value: float
    low: float
    high: float
    style: str = "one"
    size: int = 0


SHARE = (0.0, 0.25, 0.5, 0.75, 1.0)


def share_axis(title: str) -> Axis:
    return Axis(title, 0.0, 1.0, SHARE)


def nice_axis(title: str, values: Sequence[float], *, whole: bool = False, most: int = 5) -> Axis:
    """An axis around the values, with round ticks, about `most` of them."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 2))
    step = next(size for size in (step, 2 * step, 5 * step, 10 * step) if span / size <= most - 1)
    step = max(1.0, step) if whole else step
    first, last = math.floor(low / step), math.ceil(high / step)
    last = last if last > first else first + 1
    ticks = [round(number * step, 10) for number in range(first, last + 1)]
    return Axis(title, ticks[0], ticks[-1], ticks)


def line_chart(title: str, lines: Sequence[Line], x: Axis, y: Axis) -> str:
    """Lines over two axes; `title` is read out where the picture is not seen."""

    def place(x_value: float, y_value: float) -> tuple[float, float]:
        across = (x_value - x.low) / (x.high - x.low)
        up = (y_value - y.low) / (y.high - y.low)
        return (
            round(_LEFT + across * (WIDTH - _LEFT - _RIGHT), 1),
            round(HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM), 1),
        )

    parts = [_grid(x, y, place)]
    for line in lines:
        points = [place(*point) for point in zip(line.xs, line.ys, strict=True)]
        joined = " ".join(f"{across},{down}" for across, down in points)
        parts.append(f'<polyline class="line {line.style}" points="{joined}"/>')
        parts += [
            f'<circle class="dot {line.style}" cx="{across}" cy="{down}" r="{radius:.2g}"/>'
            for (across, down), radius in zip(points, line.radii, strict=bool(line.radii))
        ]
    return _svg(title, WIDTH, HEIGHT, parts)


def _grid(x: Axis, y: Axis, place: Callable[[float, float], tuple[float, float]]) -> str:
    parts: list[str] = []
    for tick in x.ticks:
        across, down = place(tick, y.low)
        parts.append(f'<line class="grid" x1="{across}" y1="{down}" x2="{across}" y2="{_TOP}"/>')
        parts.append(_text(across, down + 16, _number(tick), "middle"))
    for tick in y.ticks:
        across, down = place(x.low, tick)
        right = WIDTH - _RIGHT
        parts.append(f'<line class="grid" x1="{across}" y1="{down}" x2="{right}" y2="{down}"/>')
        parts.append(_text(across - 6, down + 4, _number(tick), "end"))
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 4, x.title, "middle", "label"))
    height = (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text class="label" text-anchor="middle" transform="translate(11 {height}) rotate(-90)">'
        f"{escape(y.title)}</text>"
    )
    return "".join(parts)


def dot_chart(title: str, dots: Sequence[Dot], *, bar: float | None = None) -> str:
    """A row a dot, with its range; `bar` is a vertical line that values are held against."""
    values = [edge for dot in dots for edge in (dot.low, dot.high)]
    axis = nice_axis("", [*values, *([bar] if bar is not None else [])], most=4)
    bottom = 8 + _ROW * len(dots)

    def across(value: float) -> float:
        share = (value - axis.low) / (axis.high - axis.low)
        return round(_NAMES + share * (WIDTH - _NAMES - _VALUES), 1)

    parts: list[str] = []
    for tick in axis.ticks:
        at = across(tick)
        parts.append(f'<line class="grid" x1="{at}" y1="4" x2="{at}" y2="{bottom}"/>')
        parts.append(_text(at, bottom + 15, f"{100 * tick:g} %", "middle"))
    if bar is not None:
        at = across(bar)
        parts.append(f'<line class="bar" x1="{at}" y1="0" x2="{at}" y2="{bottom}"/>')
    for number, dot in enumerate(dots):
        parts.append(_dot_row(dot, 8 + _ROW * number + _ROW / 2, across))
    return _svg(title, WIDTH, bottom + 22, parts)


def _dot_row(dot: Dot, down: float, across: Callable[[float], float]) -> str:
    count = f" ({dot.size:,})" if dot.size else ""
    return (
        _text(_NAMES - 12, down + 4, dot.name + count, "end", "name")
        + f'<line class="range {dot.style}" x1="{across(dot.low)}" y1="{down}"'
        f' x2="{across(dot.high)}" y2="{down}"/>'
        f'<circle class="dot {dot.style}" cx="{across(dot.value)}" cy="{down}" r="4.5"/>'
        + _text(WIDTH - _VALUES + 12, down + 4, f"{100 * dot.value:.1f} %", "start", "value")
    )


def _svg(title: str, width: int, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height:g}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str, style: str = "tick") -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:g}"
