"""A timeline as a picture: SVG by hand, and HTML around it. Pure; nothing in it runs, and it needs no other file.

Given by `cli.timeline`. All text comes from a journal, so from clouds and engines: it is escaped, and what XML does
not allow is left out.
"""

import re
from datetime import UTC, datetime
from html import escape

from elastic_deploy.core.steps import Mark
from elastic_deploy.core.timeline import Bar, Row, Timeline
from elastic_deploy.model.duration import format_duration

WIDTH = 1280
_LEFT, _RIGHT, _TOP, _ROW, _BAR = 250, 24, 92, 28, 16
_TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 604800)
_MOST_TICKS = 10
_CHARACTER = 6.2
"""Pixels of a character at the size in which bars and labels are written: only what fits is written."""

STEPS = {
    "asked": ("#c2b280", "asked of the cloud"),
    "launching": ("#d9a441", "being launched"),
    "ssh": ("#c98a3c", "SSH awaited"),
    "files": ("#b5793f", "files copied"),
    "setup": ("#a5693f", "being set up"),
    "joined": ("#6f9ed8", "joined"),
    "placed": ("#3f74bf", "holds bundles"),
    "waiting": ("#d9a441", "waits"),
    "degraded": ("#b3a13c", "serves with less"),
    "recovering": ("#d9822b", "recovers"),
    "failed": ("#b5403a", "failed"),
    "stopped": ("#7d8590", "stopped"),
    "gathering": ("#d9a441", "waits for its GPUs"),
    "resting": ("#9a8f7a", "no pool to ask"),
    "clearing": ("#a78bca", "old engine cleared"),
    "starting": ("#8f7fd0", "engine starts"),
    "weights": ("#7a6bc4", "weights loaded"),
    "engine": ("#6657b0", "engine made ready"),
    "ready": ("#3f9c5c", "ready"),
    "adopted": ("#8a9a8e", "found running"),
    "draining": ("#8b98a5", "drained"),
    "ending": ("#6d7882", "ended"),
    "pausing": ("#c8553d", "failed, pauses"),
}
"""Each step's colour, which can be told from a light ground and from a dark one, and its name in the legend."""

_MARKS = {
    "recovered": ("good", "recovered"),
    "node.lost": ("bad", "lost or failed"),
    "engine.failed": ("bad", "lost or failed"),
    "node.given_up": ("bad", "lost or failed"),
    "autoscaler.lost": ("bad", "lost or failed"),
    "rollout.failed": ("bad", "lost or failed"),
    "deployment.failed": ("bad", "lost or failed"),
    "deployment.raised": ("good", "recovered"),
    "rollout.done": ("good", "recovered"),
    **dict.fromkeys(
        (
            "request",
            "pool.chosen",
            "deployment.raising",
            "deployment.scaled",
            "deployment.sleeping",
            "deployment.woken",
        ),
        ("plain", "asked, or decided"),
    ),
}
_OTHER_MARK = ("warning", "refused, or warned of")

_INKS = {
    "ground": ("fill", "#ffffff", "#151b23"),
    "text": ("fill", "#1f2328", "#e6edf3"),
    "dim": ("fill", "#59636e", "#9198a1"),
    "line": ("stroke", "#d1d9e0", "#3d444d"),
    "good": ("fill", "#2da44e", "#3fb950"),
    "bad": ("fill", "#d1242f", "#f85149"),
    "warning": ("fill", "#e3912b", "#e3b341"),
    "plain": ("fill", "#7d8590", "#9198a1"),
}
"""What each class is drawn with on a light ground, and on a dark one. The light ones are attributes as well, for
programs that draw SVG without style sheets."""

_STYLE = "@media (prefers-color-scheme:dark){{{}}}".format(
    "".join(f".{name}{{{what}:{dark}}}" for name, (what, _, dark) in _INKS.items())
)
_FONT = "ui-sans-serif,system-ui,sans-serif"
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _ink(name: str) -> str:
    """The attributes of a class."""
    what, light, _ = _INKS[name]
    return f'class="{name}" {what}="{light}"'


def _on(colour: str) -> str:
    """The colour of words on a bar."""
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    return "#1f2328" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"


def _text(words: str) -> str:
    """Any words as XML text or the value of an attribute."""
    return escape(_FORBIDDEN.sub("\ufffd", words), quote=True)


def _shortened(words: str, pixels: float) -> str:
    fits = max(0, int(pixels / _CHARACTER))
    return words if len(words) <= fits else f"{words[: fits - 1]}…" if fits > 1 else ""


class _Scale:
    """From times to pixels."""

    def __init__(self, timeline: Timeline) -> None:
        self.start = timeline.start
        self.length = max(1.0, timeline.end - timeline.start)

    def x(self, at: float) -> float:
        """Where a time stands."""
        return round(_LEFT + (at - self.start) / self.length * (WIDTH - _LEFT - _RIGHT), 2)

    def ticks(self) -> list[float]:
        """The times that are written on the axis: round ones, and not more than can be read."""
        every = next((t for t in _TICKS if self.length / t <= _MOST_TICKS), _TICKS[-1])
        every *= max(1, -(-int(self.length) // (every * _MOST_TICKS)))
        first = -(-self.start // every) * every
        return [first + n * every for n in range(int((self.start + self.length - first) // every) + 1)]


def svg(timeline: Timeline, title: str) -> str:
    """The timeline as an SVG document."""
    scale = _Scale(timeline)
    steps = [name for name in STEPS if any(bar.step == name for row in timeline.rows for bar in row.bars)]
    legend, lines = _legend(steps, timeline)
    top = _TOP + 20 * lines
    height = top + _ROW * len(timeline.rows) + 16
    took = format_duration(timeline.end - timeline.start)
    head = f"from {_stamp(timeline.start)} to {_stamp(timeline.end)}, {took}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' font-family="{_FONT}" font-size="11" role="img" data-from="{timeline.start!r}" data-to="{timeline.end!r}">',
        f"<title>{_text(title)}</title><style>{_STYLE}</style>",
        f'<rect {_ink("ground")} width="{WIDTH}" height="{height}"/>',
        f'<text {_ink("text")} font-size="16" font-weight="600" x="16" y="28">{_text(title)}</text>',
        f'<text {_ink("dim")} x="16" y="46">{_text(head)}</text>',
        *legend,
        *_axis(scale, top, height),
    ]
    for place, row in enumerate(timeline.rows):
        parts += _row(row, scale, top + place * _ROW)
    return "\n".join([*parts, "</svg>\n"])


def html(timeline: Timeline, title: str) -> str:
    """The timeline as a page of its own."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"/><meta name="color-scheme" content="light dark"/>'
        f"<title>{_text(title)}</title>"
        "<style>body{margin:0;background:Canvas}div{overflow-x:auto}</style></head>\n"
        f"<body><div>\n{svg(timeline, title)}</div></body></html>\n"
    )


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _axis(scale: _Scale, top: int, height: int) -> list[str]:
    parts = []
    short = "%H:%M:%S" if scale.length <= 36 * 3600 else "%m-%d %H:%M"
    for at in scale.ticks():
        x = scale.x(at)
        label = datetime.fromtimestamp(at, UTC).strftime(short)
        parts.append(f'<line {_ink("line")} x1="{x}" x2="{x}" y1="{top - 6}" y2="{height - 10}"/>')
        parts.append(f'<text {_ink("dim")} x="{x}" y="{top - 10}" text-anchor="middle">{label}</text>')
    return parts


def _legend(steps: list[str], timeline: Timeline) -> tuple[list[str], int]:
    """The legend's parts, and how many lines more than one it takes."""
    entries = [(f'fill="{STEPS[name][0]}"', STEPS[name][1]) for name in steps]
    kinds = {_MARKS.get(mark.kind, _OTHER_MARK) for row in timeline.rows for mark in row.marks}
    entries += [(_ink(css), words) for css, words in sorted(kinds)]
    parts, x, line = [], 16.0, 0
    for place, (look, words) in enumerate(entries):
        width = 22 + len(words) * _CHARACTER + 12
        if x + width > WIDTH - _RIGHT:
            x, line = 16.0, line + 1
        y = 56 + 20 * line
        if place < len(steps):
            parts.append(f'<rect {look} x="{x:g}" y="{y}" width="14" height="10" rx="2"/>')
        else:
            parts.append(f'<path {look} d="{_diamond(x + 7, y + 5)}"/>')
        parts.append(f'<text {_ink("text")} x="{x + 20:g}" y="{y + 9}">{_text(words)}</text>')
        x += width
    return parts, line


def _row(row: Row, scale: _Scale, y: int) -> list[str]:
    middle = y + _ROW // 2
    name = _shortened(row.label, _LEFT - 32)
    detail = _shortened(row.detail, _LEFT - 32 - len(name) * _CHARACTER - 8)
    return [
        f'<g data-row="{_text(row.label)}" data-kind="{_text(row.kind)}">',
        f"<title>{_text(f'{row.label} {row.detail}'.strip())}</title>",
        f'<line {_ink("line")} x1="16" x2="{WIDTH - _RIGHT}" y1="{y + _ROW}" y2="{y + _ROW}"/>',
        f'<text {_ink("text")} x="16" y="{middle + 4}">{_text(name)}'
        f'<tspan {_ink("dim")} dx="6">{_text(detail)}</tspan></text>',
        *(_bar(bar, scale, middle) for bar in row.bars),
        *(_mark(mark, scale, middle) for mark in row.marks),
        "</g>",
    ]


def _bar(bar: Bar, scale: _Scale, middle: int) -> str:
    colour, words = STEPS.get(bar.step, ("#7d8590", bar.step))
    x = scale.x(bar.start)
    width = max(1.5, round(scale.x(bar.end) - x, 2))
    took = format_duration(bar.end - bar.start)
    so_far = " so far" if bar.open_ended else ""
    inside = next((w for w in (f"{words} {took}", words, bar.step) if len(w) * _CHARACTER + 12 <= width), "")
    label = f'<text fill="{_on(colour)}" x="{x + 8:g}" y="{middle + 4}">{_text(inside)}</text>' if inside else ""
    return (
        f'<g data-step="{_text(bar.step)}" data-from="{bar.start!r}" data-to="{bar.end!r}">'
        f"<title>{_text(f'{words}: {took}{so_far}, from {_stamp(bar.start)}')}</title>"
        f'<rect fill="{colour}" x="{x:g}" y="{middle - _BAR // 2}" width="{width:g}" height="{_BAR}" rx="2"/>'
        f"{label}</g>"
    )


def _mark(mark: Mark, scale: _Scale, middle: int) -> str:
    css, _ = _MARKS.get(mark.kind, _OTHER_MARK)
    return (
        f'<g data-mark="{_text(mark.kind)}" data-at="{mark.at!r}"><title>{_text(f"{_stamp(mark.at)} {mark.message}")}'
        f'</title><path {_ink(css)} stroke="#ffffff" d="{_diamond(scale.x(mark.at), middle)}"/></g>'
    )


def _diamond(x: float, y: float) -> str:
    return f"M{x:g} {y - 6:g}L{x + 6:g} {y:g}L{x:g} {y + 6:g}L{x - 6:g} {y:g}Z"
