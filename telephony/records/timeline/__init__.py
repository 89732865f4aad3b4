"""timeline.svg: a call as a picture. Who spoke when, in which words, what was cut off, and what was done meanwhile.

Pure: `draw_timeline` makes a string of a `CallTimeline`. The picture is one file without scripts, links or fonts of its
own, and follows the viewer's choice of light or dark.
"""

from telephony.records.timeline.picture import CallTimeline, draw_timeline

__all__ = ["CallTimeline", "draw_timeline"]
