"""Reading the `session` object of `session.created` and `session.updated`, which may hold anything.

It is kept as JSON (its fields are many, and new ones come every few months); what is looked at in it is looked at here.
Source: openai/types/realtime/realtime_session_create_request.py.
"""

from __future__ import annotations

from typing import Any


def audio_settings(session: dict[str, Any], way: str) -> dict[str, Any]:
    """`session.audio.input` or `.output`; empty where there is none, or something else."""
    audio = session.get("audio")
    settings = audio.get(way) if isinstance(audio, dict) else None
    return settings if isinstance(settings, dict) else {}


def expires_at(session: dict[str, Any]) -> float | None:
    """When the server will end the session, Unix seconds; None where it does not say.

    Source: openai/types/realtime/realtime_session_create_response.py, "Expiration timestamp for the session, in seconds
    since epoch."
    """
    at = session.get("expires_at")
    if not isinstance(at, int | float) or isinstance(at, bool) or not 0 < at < 1e12:
        return None
    return float(at)


def other_formats(session: dict[str, Any], format_type: str) -> list[str]:
    """Which sides have another audio format than this one ("audio/pcm"), for messages: `["output audio/pcmu"]`."""
    others = []
    for way in ("input", "output"):
        audio_format = audio_settings(session, way).get("format")
        kind = audio_format.get("type") if isinstance(audio_format, dict) else audio_format
        if kind not in (None, format_type):
            others.append(f"{way} {str(kind)[:100]}")
    return others
