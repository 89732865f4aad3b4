"""What the Realtime API answers to a client event it cannot obey, in the API's own words.

Clients decide by `code`, and some by the message (the length in "… is already shorter than …" is all they have to
correct a truncate by), so both are the API's wherever they could be found: in captures of live sessions and in public
issue threads (livekit/agents #6157, pipecat-ai/pipecat #2106, openai/openai-agents-python #1661 and #2370).
"""

from __future__ import annotations

import re

from realtime_bridge.errors import ProtocolError


class Refusal(ProtocolError):  # noqa: N818 - what the client is told, not a failure of ours
    """A client event that is not obeyed; the session goes on. `param`: path of the offending field, where one is."""

    def __init__(self, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param


CLIENT_EVENT_TYPES = (
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "conversation.item.create",
    "conversation.item.truncate",
    "conversation.item.delete",
    "conversation.item.retrieve",
    "response.create",
    "response.cancel",
)

# msgspec's words for what is wrong with a value, without " - at `$.its.path`".
_PATH = re.compile(r"`\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"Object missing required field `(?P<field>.+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.+)`")
_BAD_TYPE = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`")
_BAD_CHOICE = re.compile(r"Invalid (?:enum )?value (?P<value>.+)")
_OUT_OF_RANGE = re.compile(r"Expected `(?P<kind>\w+)`(?P<length> of length)? (?P<sign><=|>=) (?P<limit>[\d.]+)")
_KINDS = {"int": "integer", "float": "decimal", "str": "string", "bool": "boolean"}


def refusal_of(reason: str, *, under: str = "") -> Refusal:
    """Say in the API's words what msgspec found wrong.

    `reason` is the text of msgspec's error; `under` names the object that was read ("session") unless it is the event.
    """
    problem, _, where = reason.partition(" - at ")
    found = _PATH.search(where)
    path = _joined(under, found["path"] if found else "")
    if found := _MISSING.match(problem):
        path = _joined(path, found["field"])
        return Refusal(f"Missing required parameter: '{path}'.", code="missing_required_parameter", param=path)
    if found := _UNKNOWN.match(problem):
        path = _joined(path, found["field"])
        return Refusal(f"Unknown parameter: '{path}'.", code="unknown_parameter", param=path)
    if not path:  # the whole event: not JSON, or no object
        code = "invalid_event" if problem.startswith("Expected") else "invalid_json"
        return Refusal(f"Invalid event: {problem}.", code=code)
    if found := _BAD_TYPE.match(problem):
        wanted = " or ".join(_with_article(kind) for kind in found["wanted"].split(" | "))
        message = f"Invalid type for '{path}': expected {wanted}, but got {_with_article(found['got'])} instead."
        return Refusal(message, code="invalid_type", param=path)
    if found := _OUT_OF_RANGE.match(problem):
        return _out_of_range(path, found)
    if found := _BAD_CHOICE.match(problem):
        problem = f"Invalid value: {found['value']}"
        if path == "type":
            problem += f". Supported values are: {supported(CLIENT_EVENT_TYPES)}"
    return Refusal(f"{problem}.", code="invalid_value", param=path)


def supported(values: tuple[str, ...]) -> str:
    """The values of a choice, listed as the API lists them."""
    return ", ".join(f"'{value}'" for value in values[:-1]) + f" and '{values[-1]}'"


def _out_of_range(path: str, found: re.Match[str]) -> Refusal:
    side, bound = ("above", "maximum") if found["sign"] == "<=" else ("below", "minimum")
    kind = _KINDS.get(found["kind"], found["kind"])
    what, measure = (
        (f"{kind} too {'long' if side == 'above' else 'short'}", "length")
        if found["length"]
        else (f"{kind} {side} {bound} value", "value")
    )
    limit = found["limit"].removesuffix(".0")
    return Refusal(
        f"Invalid '{path}': {what}. Expected a {measure} {found['sign']} {limit}.",
        code=f"{kind}_{side}_{bound[:3]}_{measure}",
        param=path,
    )


def _joined(base: str, field: str) -> str:
    return f"{base}.{field}" if base and field else base or field


def _with_article(kind: str) -> str:
    name = _KINDS.get(kind, kind)
    return name if name == "null" else f"{'an' if name[0] in 'aeio' else 'a'} {name}"
