"""The session's settings: what a client may set, within which limits, and how an update changes them.

Source: openai/types/realtime/realtime_session_create_request.py. "Only the fields that are present in the
`session.update` are updated"; an update that is wrong anywhere changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from realtime_bridge.localmodel.formats import FormatName
from realtime_bridge.localmodel.refusals import Refusal, refusal_of
from realtime_bridge.localmodel.semantic import Eagerness, semantic_settings
from realtime_bridge.localmodel.turns import TurnSettings

TOOLS_MAX = 128
_TEXT_CHARACTERS_MAX = 1_000_000


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Pcm(_Settings, frozen=True, kw_only=True, tag_field="type", tag="audio/pcm"):
    rate: Annotated[int, Meta(ge=24_000, le=24_000)] = 24_000


class Pcmu(_Settings, frozen=True, kw_only=True, tag_field="type", tag="audio/pcmu"):
    pass


class Pcma(_Settings, frozen=True, kw_only=True, tag_field="type", tag="audio/pcma"):
    pass


AudioFormat: TypeAlias = Pcm | Pcmu | Pcma


class ServerVad(_Settings, frozen=True, kw_only=True, tag_field="type", tag="server_vad"):
    """Defaults and meaning: openai/types/realtime/realtime_audio_input_turn_detection.py."""

    threshold: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    prefix_padding_ms: Annotated[int, Meta(ge=0, le=10_000)] = 300
    silence_duration_ms: Annotated[int, Meta(ge=0, le=10_000)] = 500
    idle_timeout_ms: Annotated[int, Meta(ge=100, le=600_000)] | None = None
    create_response: bool = True
    interrupt_response: bool = True

    def turns(self) -> TurnSettings:
        return TurnSettings(self.threshold, self.prefix_padding_ms, self.silence_duration_ms)


class SemanticVad(_Settings, frozen=True, kw_only=True, tag_field="type", tag="semantic_vad"):
    eagerness: Eagerness = "auto"
    create_response: bool = True
    interrupt_response: bool = True

    def turns(self) -> TurnSettings:
        return semantic_settings(self.eagerness)


class Transcription(_Settings, frozen=True, kw_only=True):
    """Which model transcribes is said and echoed; here it is always the server's own recogniser."""

    model: str | None = None
    language: str | None = None
    languages: tuple[str, ...] | None = None
    prompt: str | None = None
    keywords: tuple[str, ...] | None = None
    delay: str | None = None


class InputAudioSettings(_Settings, frozen=True, kw_only=True):
    format: AudioFormat = Pcm()
    transcription: Transcription | None = None
    noise_reduction: dict[str, Any] | None = None
    turn_detection: ServerVad | SemanticVad | None = ServerVad()


class OutputAudioSettings(_Settings, frozen=True, kw_only=True):
    """There is one voice, and it has one speed: both are echoed and change nothing."""

    format: AudioFormat = Pcm()
    voice: str | dict[str, str] = "marin"
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] = 1.0


class AudioSettings(_Settings, frozen=True, kw_only=True):
    input: InputAudioSettings = InputAudioSettings()
    output: OutputAudioSettings = OutputAudioSettings()


class FunctionTool(_Settings, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="function"):
    name: Annotated[str, Meta(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class NamedFunction(_Settings, frozen=True, kw_only=True, tag_field="type", tag="function"):
    name: str


Modalities: TypeAlias = tuple[Literal["text", "audio"], ...]
MaxOutputTokens: TypeAlias = Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"]
Tools: TypeAlias = Annotated[tuple[FunctionTool, ...], Meta(max_length=TOOLS_MAX)]
ToolChoice: TypeAlias = Literal["auto", "none", "required"] | NamedFunction
Text: TypeAlias = Annotated[str, Meta(max_length=_TEXT_CHARACTERS_MAX)]


class SessionConfig(_Settings, frozen=True, kw_only=True):
    """What a `session.update` may hold. Settings of the real models that mean nothing here are taken and echoed."""

    type: Literal["realtime"] = "realtime"
    model: str = ""
    output_modalities: Modalities = ("audio",)
    instructions: Text = ""
    tools: Tools = ()
    tool_choice: ToolChoice = "auto"
    max_output_tokens: MaxOutputTokens = "inf"
    audio: AudioSettings = AudioSettings()
    tracing: str | dict[str, Any] | None = None
    truncation: str | dict[str, Any] = "auto"
    prompt: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    include: tuple[str, ...] | None = None

    @property
    def input_format(self) -> FormatName:
        return format_name(self.audio.input.format)

    def updated(self, changes: dict[str, Any], *, voice_is_set: bool) -> SessionConfig:
        """These settings with `changes` laid over them, objects merged field by field.

        `voice_is_set`: the assistant has spoken, its voice can no longer change. Raises Refusal.
        """
        if "type" not in changes:
            raise Refusal(
                "Missing required parameter: 'session.type'.", code="missing_required_parameter", param="session.type"
            )
        if changes["type"] == "transcription":
            message = "Passing a transcription session update event to a realtime session is not allowed."
            raise Refusal(message, code="invalid_value", param="session.type")
        laid_over = _laid_over(msgspec.to_builtins(self), changes)
        laid_over["model"] = self.model  # fixed by the connection
        config = _converted(laid_over, SessionConfig, under="session")
        _require_one_modality(config.output_modalities, "session.output_modalities")
        if voice_is_set and config.audio.output.voice != self.audio.output.voice:
            raise voice_change_refused()
        return config


class ResponseAudioOutput(_Settings, frozen=True, kw_only=True):
    format: AudioFormat | None = None
    voice: str | dict[str, str] | None = None


class ResponseAudio(_Settings, frozen=True, kw_only=True):
    output: ResponseAudioOutput = ResponseAudioOutput()


class ResponseParams(_Settings, frozen=True, kw_only=True):
    """What a `response.create` may override (openai/types/realtime/realtime_response_create_params.py); None: as the
    session has it. `input`: items or `{"type": "item_reference", "id": …}`; None: the conversation."""

    conversation: Literal["auto", "none"] | None = None
    input: tuple[dict[str, Any], ...] | None = None
    instructions: Text | None = None
    max_output_tokens: MaxOutputTokens | None = None
    metadata: (
        Annotated[dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]
        | None
    ) = None
    output_modalities: Modalities | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    audio: ResponseAudio = ResponseAudio()
    prompt: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None


def response_params(raw: dict[str, Any] | None) -> ResponseParams:
    """Read the overrides of a `response.create`. Raises Refusal."""
    params = _converted(raw or {}, ResponseParams, under="response")
    if params.output_modalities is not None:
        _require_one_modality(params.output_modalities, "response.output_modalities")
    return params


def format_name(audio_format: AudioFormat) -> FormatName:
    match audio_format:
        case Pcm():
            return "audio/pcm"
        case Pcmu():
            return "audio/pcmu"
        case Pcma():
            return "audio/pcma"


def voice_change_refused() -> Refusal:
    return Refusal("Cannot update a conversation's voice if assistant audio is present.", code="cannot_update_voice")


_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def _converted(raw: dict[str, Any], wanted: type[_Struct], *, under: str) -> _Struct:
    try:
        return msgspec.convert(raw, wanted)
    except msgspec.ValidationError as e:
        raise refusal_of(str(e), under=under) from e


def _laid_over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Objects are merged, unless their `type` differs: then the new one starts from its own defaults."""
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("type", old.get("type")) == old.get("type"):
            merged[name] = _laid_over(old, value)
        else:
            merged[name] = value
    return merged


def _require_one_modality(modalities: Modalities, param: str) -> None:
    if len(modalities) != 1:
        message = f"Invalid modalities: {list(modalities)}. Supported combinations are: ['text'] and ['audio']."
        raise Refusal(message, code="invalid_value", param=param)
