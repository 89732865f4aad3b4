"""The picture's material: elements, colours, the document around them, and how numbers and times are written.

Colours are spelled out twice in the style sheet, for light and for dark, since not every viewer of SVG knows variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

WIDTH = 1200.0

_LIGHT = {
    "page": "#f5f6f8",
    "panel": "#ffffff",
    "edge": "#e2e5ea",
    "grid": "#eff1f4",
    "tick": "#dde1e7",
    "ink": "#1b2230",
    "muted": "#667080",
    "faint": "#7f8998",
    "caller": "#0b8a87",
    "agent": "#5a55d6",
    "barge": "#d6295f",
    "tool": "#2a6fdb",
    "failed": "#c62828",
    "approval": "#b86e00",
    "handoff": "#9236b0",
}
_DARK = {
    "page": "#0d1014",
    "panel": "#151a21",
    "edge": "#272e38",
    "grid": "#1c222b",
    "tick": "#2c3440",
    "ink": "#e7eaf0",
    "muted": "#98a3b3",
    "faint": "#69748a",
    "caller": "#41c7c2",
    "agent": "#a19dff",
    "barge": "#ff6f9c",
    "tool": "#74abff",
    "failed": "#ff7b72",
    "approval": "#f5b14c",
    "handoff": "#d592f0",
}
_COLOURS = """
.page{{fill:{page}}}.panel{{fill:{panel};stroke:{edge}}}
.grid{{stroke:{grid}}}.tick{{stroke:{tick}}}.rest{{stroke:{tick}}}.wait{{stroke:{faint}}}
text{{fill:{ink}}}.muted{{fill:{muted}}}.cut{{fill:{faint}}}
.caller{{fill:{caller}}}.agent{{fill:{agent}}}.barge{{fill:{barge}}}.tool{{fill:{tool}}}.failed{{fill:{failed}}}
.approval{{fill:{approval}}}.handoff{{fill:{handoff}}}
.caller-line{{stroke:{caller}}}.agent-line{{stroke:{agent}}}.barge-line{{stroke:{barge}}}.handoff-line{{stroke:{handoff}}}
"""
_SHAPES = """
text{font:12.5px ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,"DejaVu Sans",sans-serif}
.label{font-size:11px}.name{font-size:12px;font-weight:600}.title{font-size:24px;font-weight:650}
.figure{font-size:20px;font-weight:600}.sub{font-size:13px}
.end{text-anchor:end}.middle{text-anchor:middle}
.cut{text-decoration:line-through}
path,line{fill:none}.lasting{fill-opacity:.28}
.wave{stroke-width:1.7;stroke-linecap:round}.grid,.tick,.rest,.wait,.stem{stroke-width:1}.stem{stroke-opacity:.5}
.barge-line{stroke-width:1.8}.handoff-line{stroke-width:1.4;stroke-dasharray:4 3}
"""

# XML 1.0, section 2.2: other characters must not appear, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def plain(content: str) -> str:
    """Any text, made safe to stand in an element or an attribute."""
    return escape(_NOT_XML.sub("\ufffd", content))


def number(value: float) -> str:
    """A coordinate, to a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")


def element(name: str, css: str, **attributes: float) -> str:
    """An element without content, such as a line or a rect."""
    written = "".join(f' {key}="{number(value)}"' for key, value in attributes.items())
    return f'<{name} class="{css}"{written}/>'


def path(css: str, steps: str) -> str:
    return f'<path class="{css}" d="{steps}"/>'


def text(x: float, y: float, content: str, css: str) -> str:
    return f'<text class="{css}" x="{number(x)}" y="{number(y)}">{plain(content)}</text>'


def rich_text(x: float, y: float, spans: Iterable[tuple[str, str]]) -> str:
    """One line of text in pieces of (content, css)."""
    pieces = "".join(f'<tspan class="{css}">{plain(s)}</tspan>' if css else plain(s) for s, css in spans)
    return f'<text x="{number(x)}" y="{number(y)}">{pieces}</text>'


def group(content: str, *, down: float = 0.0, tip: str = "") -> str:
    """Elements together, moved down, with a text for the pointer that rests on them."""
    moved = f' transform="translate(0 {number(down)})"' if down else ""
    title = f"<title>{plain(tip)}</title>" if tip else ""
    return f"<g{moved}>{title}{content}</g>"


def document(parts: Iterable[str], height: float, title: str, description: str) -> str:
    style = _SHAPES + _COLOURS.format(**_LIGHT)
    style += "@media (prefers-color-scheme:dark){" + _COLOURS.format(**_DARK) + "}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(WIDTH)}" height="{number(height)}" '
        f'viewBox="0 0 {number(WIDTH)} {number(height)}" role="img" aria-label="{plain(title)}">\n'
        f"<title>{plain(title)}</title>\n<desc>{plain(description)}</desc>\n"
        f"<style>{style}</style>\n"
        f"{element('rect', 'page', width=WIDTH, height=height)}\n" + "\n".join(parts) + "\n</svg>\n"
    )


def clock(ms: float) -> str:
    """A moment of the call: 1:05, or 1:02:03 in its second hour."""
    hours, rest = divmod(int(ms) // 1000, 3600)
    minutes, whole_seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{whole_seconds:02}" if hours else f"{minutes}:{whole_seconds:02}"


def lasting(ms: float) -> str:
    """A length of time: 0.21 ms, 180 ms, 4.2 s."""
    if ms >= 999.5:
        return f"{ms / 1000:.1f} s"
    return f"{ms:.0f} ms" if ms >= 10 or ms == int(ms) else f"{ms:.2f} ms"
