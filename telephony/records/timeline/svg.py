"""The picture's material: elements, colours, the document around them, and how numbers and times are written.

Colours are spelled out twice in the style sheet, for light and for dark, since not every viewer of SVG knows variables.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

WIDTH = 1200.0
SHEET_WIDE_MM = 274.0  # of A4 across, less margins of a centimetre and what a browser rounds away
SHEET = WIDTH * 190.2 / SHEET_WIDE_MM  # how much is on one: browsers round it to whole pixels, up
SHEET_SLACK = 8.0  # at its top and bottom, since not all of them do

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
    "reconnect": "#c2410c",
    "notice": "#3f7d20",
    "pause": "#7f8998",
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
    "reconnect": "#fb923c",
    "notice": "#93cf6b",
    "pause": "#8391a5",
}
_COLOURS = """
.page{{fill:{page}}}.panel{{fill:{panel};stroke:{edge}}}
.grid{{stroke:{grid}}}.tick{{stroke:{tick}}}.rest{{stroke:{tick}}}.wait{{stroke:{faint}}}
text{{fill:{ink}}}.words text{{stroke:{panel}}}.slow{{fill:{failed}}}.wait-bar{{fill:{faint}}}.cap{{fill:{panel};stroke:{caller}}}.muted{{fill:{muted}}}.cut{{fill:{faint}}}
.caller{{fill:{caller}}}.agent{{fill:{agent}}}.barge{{fill:{barge}}}.tool{{fill:{tool}}}.failed{{fill:{failed}}}
.approval{{fill:{approval}}}.handoff{{fill:{handoff}}}.reconnect{{fill:{reconnect}}}.notice{{fill:{notice}}}
.pause{{fill:{pause}}}
.caller-line{{stroke:{caller}}}.agent-line{{stroke:{agent}}}.barge-line{{stroke:{barge}}}.handoff-line{{stroke:{handoff}}}
"""
_SHAPES = """
text{font:12.5px ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,"DejaVu Sans",sans-serif}
.label{font-size:11px}.name{font-size:12px;font-weight:600}.title{font-size:24px;font-weight:650}
.figure{font-size:20px;font-weight:600}.sub{font-size:13px}
.end{text-anchor:end}.middle{text-anchor:middle}
.cut{text-decoration:line-through}.words .cut{stroke:none}
.words text{stroke-width:3px;stroke-linejoin:round;paint-order:stroke}path,line{fill:none}.lasting{fill-opacity:.28}.band{fill-opacity:.14}
.answer,.slow,.key{font-weight:600}.thin{stroke-width:1.5;stroke-linecap:butt}
.wave{stroke-width:1.7;stroke-linecap:round}.grid,.tick,.rest,.wait,.stem{stroke-width:1}.stem{stroke-opacity:.5}
.barge-line{stroke-width:1.8}.handoff-line{stroke-width:1.4;stroke-dasharray:4 3}
"""
_PRINT = "@page{size:A4 landscape;margin:10mm}.page{fill:none}.panel{fill:none}"

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


def group(content: str, *, right: float = 0.0, down: float = 0.0, tip: str = "", css: str = "") -> str:
    """Elements together, moved, with a text for the pointer that rests on them."""
    of_class = f' class="{css}"' if css else ""
    moved = f' transform="translate({number(right)} {number(down)})"' if right or down else ""
    title = f"<title>{plain(tip)}</title>" if tip else ""
    return f"<g{of_class}{moved}>{title}{content}</g>"


@dataclass(frozen=True, slots=True)
class Block:
    """Something as wide as the picture, drawn from 0 downwards, that should not be cut by the end of a sheet of paper."""

    content: str
    height: float


def document(blocks: Iterable[Block], title: str, description: str) -> str:
    """The blocks below each other: on screen without a gap, on paper each on one sheet, if it is not higher than that."""
    sheets: list[list[str]] = [[]]
    shifts = [0.0]  # how much further down each sheet's blocks stand on paper
    height = 0.0
    for block in blocks:
        on_paper = height + shifts[-1]
        sheet_ends = (on_paper // SHEET + 1) * SHEET
        if height and on_paper + block.height > sheet_ends - SHEET_SLACK:
            shifts.append(sheet_ends + SHEET_SLACK - height)
            sheets.append([])
        sheets[-1].append(group(block.content, down=height, css="block"))
        height += block.height
    rules = "".join(f".s{i}{{transform:translate(0,{number(shift)}px)}}" for i, shift in enumerate(shifts) if shift)
    paper_mm = math.ceil((height + shifts[-1]) / SHEET) * SHEET * SHEET_WIDE_MM / WIDTH
    style = _SHAPES + _COLOURS.format(**_LIGHT)
    style += "@media screen and (prefers-color-scheme:dark){" + _COLOURS.format(**_DARK) + "}"
    style += "@media print{" + _PRINT + f"svg{{width:{SHEET_WIDE_MM:g}mm;height:{paper_mm:.1f}mm}}{rules}}}"
    drawn = "\n".join(f'<g class="s{i}">' + "\n".join(sheet) + "</g>" for i, sheet in enumerate(sheets))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(WIDTH)}" height="{number(height)}" '
        f'viewBox="0 0 {number(WIDTH)} {number(height)}" preserveAspectRatio="xMidYMin" '
        f'role="img" aria-label="{plain(title)}">\n'
        f"<title>{plain(title)}</title>\n<desc>{plain(description)}</desc>\n"
        f"<style>{style}</style>\n"
        f"{element('rect', 'page', width=WIDTH, height=height)}\n{drawn}\n</svg>\n"
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
