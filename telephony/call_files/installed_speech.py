"""Whether the packages of the `[local]` extra are there. A module of its own, since looking must not load anything."""

from __future__ import annotations

import importlib.util

PARTS = ("hibari", "moonshine_voice", "onnxruntime")


def has_real_speech() -> bool:
    """Speech can be spoken and recognised on this machine."""
    return all(importlib.util.find_spec(name) is not None for name in PARTS)
