"""Small pictures as SVG text: no library, no script, colours by class so that light and dark pages can choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

STYLE = """
svg text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #33414e; }
svg .soft { fill: #6b7986; } svg .big { font-size: 15px; font-weight: 600; }
svg .kept { fill: #2f7d6b; } svg .kept-flow { fill: #2f7d6b; opacity: .28; }
svg .lost { fill: #c2703d; } svg .lost-flow { fill: #c2703d; opacity: .20; }
svg .second { fill: #4a6fa5; } svg .axis { stroke: #b8c2cb; stroke-width: 1; }
svg .correct { fill: #2f7d6b; } svg .wrong { fill: #c2703d; } svg .unparsed { fill: #a9a294; }
svg .timeout { fill: #8a6fa8; } svg .error { fill: #b3394d; }
@media (prefers-color-scheme: dark) {
  svg text { fill: #d5dde4; } svg .soft { fill: #93a1ad; } svg .axis { stroke: #4b5966; }
  svg .kept, svg .correct { fill: #5cb39d; } svg .kept-flow { fill: #5cb39d; opacity: .26; }
  svg .lost, svg .wrong { fill: #dd9465; } svg .lost-flow { fill: #dd9465; opacity: .20; }
  svg .second { fill: #7f9fd0; } svg .unparsed { fill: #857f73; } svg .timeout { fill: #ab93c6; }
  svg .error { fill: #d8687a; }
}
"""
_STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("right answer", ("wrong", "unparsed", "truncated", "timeout", "error")),
    ("sound", ("refuted_claim", "unreliable", "repetition", "degenerate")),
    ("new", ("contaminated", "in_previous", "near_duplicate")),
    ("kept", ()),  # all other reasons: lengths, caps, mix
)
_TOP, _BAND, _GAP, _BAR, _ROW = 56, 190, 215, 12, 19


def funnel(ledger: Mapping[str, Any], ends: Mapping[str, int], *, alone: bool = False) -> str:
    """Where every sampled trace went: bands as wide as their share, what is lost falls off below.

    Args:
        ledger: `in`, `kept` and `dropped` by reason, of the selection.
        ends: rows of the published configs, written at the end.
        alone: whether the picture is a file of its own and brings its colours.
    """
    dropped = dict(ledger["dropped"])
    total = int(ledger["in"])
    scale = _BAND / max(total, 1)
    left, steps = total, []
    for name, reasons in _STEPS:
        lost = {reason: dropped.pop(reason) for reason in list(dropped) if reason in reasons or not reasons}
        if lost or not reasons:
            left -= sum(lost.values())
            steps.append((name, left, lost))
    parts, x, bottom = [_node(0, _TOP, total * scale, "kept", "sampled", total)], 0, float(_TOP + _BAND)
    for name, count, lost in steps:
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
    for place, (name, count) in enumerate(ends.items()):
        parts.append(_text(x + _BAR + 12, _TOP + 12 + _ROW * place, f"{name} {count:,}", ""))
    return _svg(x + 170, bottom + 8, parts, "Where every sampled trace went", alone=alone)


def histogram(series: Mapping[str, Sequence[int]], labels: Sequence[str], width: int = 430, height: int = 150) -> str:
    """Bars side by side; one colour a series.

    Args:
        series: counts by bin, at most two series.
        labels: under the bins; empty ones are left out.
        width, height: of the picture, pixels.
    """
    highest = max((max(counts, default=0) for counts in series.values()), default=0) or 1
    slot = (width - 10) / max(len(labels), 1)
    bar = slot * 0.82 / max(len(series), 1)
    floor = height - 24
    parts = [f'<line class="axis" x1="5" x2="{width - 5}" y1="{floor}" y2="{floor}"/>']
    for number, (counts, kind) in enumerate(zip(series.values(), ("kept", "second"), strict=False)):
        for place, count in enumerate(counts):
            tall = (floor - 16) * count / highest
            x = 5 + slot * place + slot * 0.09 + bar * number
            if count:
                parts.append(
                    _rect(x, floor - max(tall, 1), bar * 0.94, max(tall, 1), kind, f"{labels[place]}: {count:,}")
                )
    for place, label in enumerate(labels):
        if label:
            parts.append(_text(5 + slot * (place + 0.5), height - 8, label, "soft", "middle"))
    parts.append(_text(5, 11, f"{highest:,}", "soft"))
    return _svg(width, height, parts, ", ".join(series))


def mix(rows: Mapping[str, Mapping[str, int]], width: int = 900) -> str:
    """A line a name, cut into shares whose classes are the parts' names."""
    parts, y = [], 0
    for name, counts in rows.items():
        total, x = sum(counts.values()) or 1, 130.0
        parts.append(_text(0, y + 17, name, ""))
        for kind, count in counts.items():
            wide = (width - 220) * count / total
            parts.append(_rect(x, y + 4, max(wide - 1, 0.5), 18, kind, f"{kind}: {count:,}"))
            x += wide
        parts.append(_text(width - 80, y + 17, f"{total:,}", "soft"))
        y += 30
    return _svg(width, y, parts, "shares")


def bars(rows: Mapping[str, float], unit: str, width: int = 430) -> str:
    """A line a name, as long as its amount."""
    highest = max(rows.values(), default=0) or 1
    parts = []
    for place, (name, amount) in enumerate(rows.items()):
        y = place * 26
        parts.append(_text(0, y + 16, name[:24], ""))
        parts.append(_rect(150, y + 4, max((width - 250) * amount / highest, 1), 15, "second"))
        told = f"{amount:,.1f}" if isinstance(amount, float) else f"{amount:,}"
        parts.append(_text(156 + (width - 250) * amount / highest, y + 16, f"{told} {unit}".strip(), "soft"))
    return _svg(width, max(len(rows) * 26, 10), parts, unit or "amounts")


def _svg(width: float, height: float, parts: Sequence[str], title: str, *, alone: bool = False) -> str:
    style = f"<style>{STYLE}</style>" if alone else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(title)}">{style}{"".join(parts)}</svg>'
    )


def _node(x: float, y: float, height: float, kind: str, name: str, count: int) -> str:
    head = _text(x, y - 26, name, "soft") + _text(x, y - 9, f"{count:,}", "big")
    return head + _rect(x, y, _BAR, max(height, 1.5), kind)


def _rect(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    told = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect class="{escape(kind)}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1">'
        f"{told}</rect>"
    )


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    mark = f' class="{kind}"' if kind else ""
    return f'<text{mark} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _ribbon(x1: float, y1: float, x2: float, y2: float, height: float, kind: str) -> str:
    """A band from one bar's edge to another's, both of the same height."""
    middle, tall = (x1 + x2) / 2, max(height, 0.8)
    return (
        f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}'
        f'v{tall:.1f}C{middle:.1f} {y2 + tall:.1f} {middle:.1f} {y1 + tall:.1f} {x1:.1f} {y1 + tall:.1f}z"/>'
    )
