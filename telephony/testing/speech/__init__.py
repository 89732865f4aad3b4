"""A recorded human voice for simulated callers. Licence and attribution: ATTRIBUTION.md beside this file."""

from telephony.testing.speech.clips import CLIPS, Clip, compose, spell
from telephony.testing.speech.dialogue import LINES, Line, demo_steps

__all__ = ["CLIPS", "LINES", "Clip", "Line", "compose", "demo_steps", "spell"]
