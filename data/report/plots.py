"""Plots as SVG text: no library, no script; colours are CSS classes, so that they follow light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite

from proofmill.data.manifest import Ledger

STYLE = """
svg text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #33414e; }
svg .soft { fill: #5f6d7a; } svg .big { font-size: 15px; font-weight: 600; }
svg .kept { fill: #2f7d6b; } svg .kept-flow { fill: #2f7d6b; opacity: .28; }
svg .lost { fill: #c2703d; } svg .lost-flow { fill: #c2703d; opacity: .20; }
svg .second { fill: #4a6fa5; } svg .axis { stroke: #b8c2cb; stroke-width: 1; }
svg .kept-line, svg .second-line, svg .soft-line { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
svg .kept-line { stroke: #2f7d6b; } svg .second-line { stroke: #4a6fa5; }
svg .soft-line { stroke: #6b7986; stroke-width: 1.5; stroke-dasharray: 4 4; }
svg .correct { fill: #2f7d6b; } svg .wrong { fill: #c2703d; } svg .unparsed { fill: #a9a294; }
svg .timeout { fill: #8a6fa8; } svg .error { fill: #b3394d; }
@media screen and (prefers-color-scheme: dark) {
  svg text { fill: #d5dde4; } svg .soft { fill: #93a1ad; } svg .axis { stroke: #4b5966; }
  svg .kept, svg .correct { fill: #5cb39d; } svg .kept-flow { fill: #5cb39d; opacity: .26; }
  svg .lost, svg .wrong { fill: #dd9465; } svg .lost-flow { fill: #dd9465; opacity: .20; }
  svg .second { fill: #7f9fd0; } svg .unparsed { fill: #857f73; } svg .timeout { fill: #ab93c6; }
  svg .error { fill: #d8687a; } svg .kept-line { stroke: #5cb39d; } svg .second-line { stroke: #7f9fd0; }
  svg .soft-line { stroke: #93a1ad; }
}
"""
Steps = Sequence[tuple[str, Sequence[str]]]
"""The funnel's steps: a name, and the drop reasons that fall off before it; the last one takes all other reasons."""
_TOP, _BAND, _GAP, _BAR, _ROW = 56, 190, 215, 12, 19
_NAME = 18  # letters of a name that fit beside its bar on a phone


def funnel(ledger: Ledger, ends: Mapping[str, int], steps: Steps, *, alone: bool = False) -> str:
    """Return a picture of where every sampled trace went: bands as wide as their share, losses falling off below.

    Args:
        ledger: of the selection.
        ends: rows of the published configs, written at the end.
        steps: which reasons fall off where.
        alone: whether the picture is a file of its own and brings its colours.
    """
    dropped = dict(ledger.dropped)
    total = ledger.entered
    scale = _BAND / max(total, 1)
    left, losses = total, []
    for name, reasons in steps:
        last = name == steps[-1][0]
        lost = {reason: dropped.pop(reason) for reason in list(dropped) if last or reason in reasons}
        if lost or last:
            left -= sum(lost.values())
            losses.append((name, left, lost))
    parts, x, bottom = [_node(0, _TOP, total * scale, "kept", "sampled", total)], 0, float(_TOP + _BAND)
    for name, count, lost in losses:
        parts.append(_ribbon(x + _BAR, _TOP, x + _GAP, _TOP, count * scale, "kept-flow"))
        at, down = _TOP + count * scale, _TOP + max(count * scale, 4) + 26
        for reason, number in lost.items():
            size = number * scale
            parts.append(_ribbon(x + _BAR, at, x + _GAP, down, size, "lost-flow"))
            parts.append(_rect(x + _GAP, down, _BAR, max(size, 1.5), "lost"))
            middle = down + max(size, _ROW - 5) / 2
            parts.append(_text(x + _GAP + _BAR + 7, middle + 1, f"{reason.replace('_', ' ')} {number:,}", "soft"))
            at, down = at + size, down + max(size, _ROW - 5) + 6
        x, bottom = x + _GAP, max(bottom, down)
        parts.append(_node(x, _TOP, count * scale, "kept", name, count))
    for index, (name, count) in enumerate(ends.items()):
        parts.append(_text(x + _BAR + 12, _TOP + 12 + _ROW * index, f"{name} {count:,}", ""))
    return _svg(x + 170, bottom + 8, parts, "Where every sampled trace went", alone=alone)


def waterfall(ledger: Ledger, steps: Steps) -> str:
    """Return the funnel for narrow pages: one line a drop reason, from all sampled traces down to the kept ones."""
    total = left = ledger.entered
    rows: list[tuple[str, int, int, str]] = [("sampled", 0, total, "kept")]
    for reason, count in sorted(ledger.dropped.items(), key=lambda item: _step_of(item[0], steps)):
        left -= count
        rows.append((reason, left, count, "lost"))
    rows.append(("kept", 0, left, "kept"))
    return _lines([(name, start, count, f"{count:,}", kind) for name, start, count, kind in rows], total)


def _step_of(reason: str, steps: Steps) -> int:
    """Return the number of the step before which a reason falls off."""
    return next((number for number, (_, reasons) in enumerate(steps) if reason in reasons), len(steps))


def histogram(series: Mapping[str, Sequence[int]], names: Sequence[str], ticks: int, height: int = 150) -> str:
    """Return bars side by side that fill the page's width, one colour a series.

    Args:
        series: counts by bin, at most two series.
        names: of the bins.
        ticks: every so many bins, and at the last one, the name stands under the bar.
        height: of the picture, pixels.
    """
    highest = max((max(counts, default=0) for counts in series.values()), default=0) or 1
    slot = 100 / max(len(names), 1)
    bar = slot * 0.82 / max(len(series), 1)
    floor = height - 24
    parts = [f'<line class="axis" x1="0" x2="100%" y1="{floor}" y2="{floor}"/>']
    for number, (counts, kind) in enumerate(zip(series.values(), ("kept", "second"), strict=False)):
        for index, count in enumerate(counts):
            tall = max((floor - 18) * count / highest, 1)
            x = slot * index + slot * 0.09 + bar * number
            if count:
                parts.append(
                    _rect(f"{x:.2f}%", floor - tall, f"{bar * 0.94:.2f}%", tall, kind, f"{names[index]}: {count:,}")
                )
    for index, name in enumerate(names):
        if (len(names) - 1 - index) % ticks == 0:
            parts.append(_text(f"{slot * (index + 0.5):.2f}%", height - 8, name, "soft", "middle"))
    parts.append(_text(0, 11, f"{highest:,}", "soft"))
    return _svg(None, height, parts, ", ".join(series))


def mix(rows: Mapping[str, Mapping[str, int]]) -> str:
    """Return one line a name, cut into shares; the part's name is its CSS class."""
    parts, y = [], 0
    for name, counts in rows.items():
        total, x = sum(counts.values()) or 1, 0.0
        parts += [_text(0, y + 14, name, ""), _text("100%", y + 14, f"{total:,}", "soft", "end")]
        for kind, count in counts.items():
            wide = 100 * count / total
            parts.append(_rect(f"{x:.2f}%", y + 21, f"{max(wide - 0.15, 0.1):.2f}%", 16, kind, f"{kind}: {count:,}"))
            x += wide
        y += 48
    return _svg(None, y, parts, "shares")


def bars(rows: Mapping[str, float], unit: str = "") -> str:
    """Return one bar a name, as long as its amount."""
    highest = max(rows.values(), default=0) or 1
    amounts = {name: f"{n:,.1f}" if isinstance(n, float) else f"{n:,}" for name, n in rows.items()}
    return _lines([(name, 0, n, f"{amounts[name]} {unit}".strip(), "second") for name, n in rows.items()], highest)


def intervals(rows: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> str:
    """By name and series: a share as a dot on the line of its interval, from 0 to 1; named where it stands.

    Args:
        rows: by name, by series, (value, low, high).
    """
    kinds = ("kept", "second", "lost")
    marks = (0, 25, 50, 75, 100)
    parts = [_text(f"{_along(mark / 100):.2f}%", 11, f"{mark} %", "soft", "middle") for mark in marks]
    y = 18.0
    for name, series in rows.items():
        shown = name.replace("_", " ")
        parts.append(_text(0, y + 15, shown if len(shown) <= _NAME else shown[: _NAME - 1] + "…", "", title=shown))
        for number, (label, (value, low, high)) in enumerate(series.items()):
            told = f"{label}: {value:.1%} [{low:.1%}, {high:.1%}]"
            kind = kinds[number] if number < len(kinds) else "soft"
            left, wide = _along(low), max(_along(high) - _along(low), 0.2)
            parts.append(
                _rect(f"{left:.2f}%", y + 9, f"{wide:.2f}%", 3, f"{kind}-flow" if kind in _FLOWS else kind, told)
            )
            parts.append(_rect(f"{_along(value) - 0.4:.2f}%", y + 5, "0.8%", 11, kind, told))
            parts.append(_text("100%", y + 15, f"{value:.1%}", "soft", "end", title=told))
            y += 20
        y += 8
    series_names = dict.fromkeys(label for series in rows.values() for label in series)
    for number, label in enumerate(series_names):
        parts.append(_rect(0, y + 4, 11, 11, kinds[number] if number < len(kinds) else "soft"))
        parts.append(_text(18, y + 14, label, "soft"))
        y += 20
    return _svg(None, y + 4, parts, "shares with their intervals")


def curves(series: Mapping[str, Sequence[float]], title: str, width: int = 760, height: int = 240) -> str:
    """A file of its own: a line a name, one after the other, over the steps of all; the scale beside it.

    Args:
        series: amounts by step; what is no number leaves a gap.
        title: what is shown.
        width, height: of the picture, pixels.
    """
    values = [value for points in series.values() for value in points if isfinite(value)]
    low, high, total = min(values, default=0.0), max(values, default=1.0), sum(map(len, series.values()))
    left, floor, top, wide = 56.0, height - 34.0, 20.0, width - 76.0
    parts = [f'<line class="axis" x1="{left:.1f}" x2="{left + wide:.1f}" y1="{floor:.1f}" y2="{floor:.1f}"/>']
    parts += [_text(0, top + 4, f"{high:.3g}", "soft"), _text(0, floor, f"{low:.3g}", "soft")]
    at = 0
    for number, (name, points) in enumerate(series.items()):
        kind = ("kept", "second")[number] if number < 2 else "soft"
        line = [
            (
                left + wide * (at + step) / max(total - 1, 1),
                floor - (floor - top) * (value - low) / ((high - low) or 1.0),
            )
            for step, value in enumerate(points)
            if isfinite(value)
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
        parts.append(f'<polyline class="{kind}-line" points="{path}"/>')
        parts.append(_text(left + wide * at / max(total, 1), height - 10, f"{name}, {len(points)} steps", "soft"))
        at += len(points)
    return _svg(width, height, parts, title, alone=True)


_FLOWS = ("kept", "lost")


def _along(share: float) -> float:
    """Where a share stands between the names and the numbers, in per cent of the width."""
    return 28 + 60 * share


def _lines(rows: Sequence[tuple[str, float, float, str, str]], highest: float) -> str:
    """Return one line a row with name, bar (start, length, colour) and amount in words, filling the page's width."""
    parts = []
    for index, (name, start, amount, words, kind) in enumerate(rows):
        y = index * 26
        shown = name.replace("_", " ")
        left, wide = 40 + 42 * start / max(highest, 1), 42 * amount / max(highest, 1)
        parts.append(_text(0, y + 16, shown if len(shown) <= _NAME else shown[: _NAME - 1] + "…", "", title=shown))
        parts.append(_rect(f"{left:.2f}%", y + 4, f"{max(wide, 0.3):.2f}%", 15, kind))
        parts.append(_text("100%", y + 16, words, "soft", "end"))
    return _svg(None, max(len(rows) * 26, 10), parts, "amounts")


def lines(series: Mapping[str, Sequence[float]], labels: Sequence[str], width: int = 620, height: int = 230) -> str:
    """Return a line plot over points at equal distances; each line is named where it ends, the scale stands beside it.

    The first two lines have colours, the others are dashed.

    Args:
        series: shares, 0 to 1, one for each label.
        labels: under the points.
        width, height: of the picture, pixels.
    """
    values = [value for points in series.values() for value in points]
    low, high = min(values, default=0.0), max(values, default=1.0)
    left, right, top, floor = 48.0, width - 130.0, 16.0, height - 30.0
    step = (right - left) / max(len(labels) - 1, 1)

    def position(index: int, value: float) -> tuple[float, float]:
        return left + step * index, floor - 14 - (floor - top - 14) * (
            (value - low) / (high - low) if high > low else 0.5
        )

    parts = [f'<line class="axis" x1="{left:.1f}" x2="{right:.1f}" y1="{floor:.1f}" y2="{floor:.1f}"/>']
    parts += [
        _text(position(index, low)[0], height - 10, label, "soft", "middle") for index, label in enumerate(labels)
    ]
    parts += [_text(0, position(0, value)[1] + 4, f"{value:.0%}", "soft") for value in dict.fromkeys((low, high))]
    ends = []
    for number, (name, points) in enumerate(series.items()):
        kind = ("kept", "second")[number] if number < 2 else "soft"
        positions = [position(index, value) for index, value in enumerate(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in positions)
        parts.append(f'<polyline class="{kind}-line" points="{path}"/>')
        for (x, y), label, value in zip(positions, labels, points, strict=True):
            parts.append(_rect(x - 3.5, y - 3.5, 7, 7, kind, f"{name}, {label}: {value:.1%}"))
        ends.append((positions[-1][1], f"{name} {points[-1]:.1%}"))
    label_y = 0.0
    for y, name in sorted(ends):  # from the top down, so that no two labels overlap
        label_y = max(y + 4, label_y + 16)
        parts.append(_text(right + 10, label_y, name, ""))
    return _svg(width, height, parts, ", ".join(series))


def _svg(width: float | None, height: float, parts: Sequence[str], title: str, *, alone: bool = False) -> str:
    """Return a picture of a fixed width, or of the page's width where `width` is None (x is then in per cent)."""
    style = f"<style>{STYLE}</style>" if alone else ""
    size = 'width="100%"' if width is None else f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} height="{height:.0f}" role="img" '
        f'aria-label="{escape(title)}">{style}{"".join(parts)}</svg>'
    )


def _node(x: float, y: float, height: float, kind: str, name: str, count: int) -> str:
    head = _text(x, y - 26, name, "soft") + _text(x, y - 9, f"{count:,}", "big")
    return head + _rect(x, y, _BAR, max(height, 1.5), kind)


def _rect(x: float | str, y: float, width: float | str, height: float, kind: str, title: str = "") -> str:
    return (
        f'<rect class="{escape(kind)}" x="{_coordinate(x)}" y="{y:.1f}" width="{_coordinate(width)}" '
        f'height="{height:.1f}" rx="1">{_tooltip(title)}</rect>'
    )


def _text(x: float | str, y: float, text: str, kind: str, anchor: str = "start", title: str = "") -> str:
    mark = f' class="{kind}"' if kind else ""
    return f'<text{mark} x="{_coordinate(x)}" y="{y:.1f}" text-anchor="{anchor}">{_tooltip(title)}{escape(text)}</text>'


def _coordinate(value: float | str) -> str:
    """Return a coordinate as SVG writes it: pixels, or per cent as given."""
    return value if isinstance(value, str) else f"{value:.1f}"


def _tooltip(title: str) -> str:
    """Return the element that a browser shows where the pointer rests."""
    return f"<title>{escape(title)}</title>" if title else ""


def _ribbon(x1: float, y1: float, x2: float, y2: float, height: float, kind: str) -> str:
    """Return a band from one bar's edge to another's, both of the same height."""
    middle, tall = (x1 + x2) / 2, max(height, 0.8)
    return (
        f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}'
        f'v{tall:.1f}C{middle:.1f} {y2 + tall:.1f} {middle:.1f} {y1 + tall:.1f} {x1:.1f} {y1 + tall:.1f}z"/>'
    )
