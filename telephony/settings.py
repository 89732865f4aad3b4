"""Every setting of the phone server, in one place: from the environment or a `.env` file, checked at the start.

`realtime-bridge settings` prints this table. A wrong value is answered by a SettingsError that says what is expected
and where to find it; the values of secrets never appear in errors, tables or logs.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from realtime_bridge.errors import MisuseError
from telephony.word_redaction import rules_of

if TYPE_CHECKING:
    from realtime_bridge.tape.keys import TapeKey, TapeKeys

NOTICE_CHARS_MAX: Final = 500  # of what callers are told about the recording: half a minute


class SettingsError(MisuseError):
    """The settings cannot work; the message holds one line per mistake, and what to do about it."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well_formed = False
    if not well_formed:
        raise ValueError("expected http://HOST or https://HOST, with a port and a path if need be")
    if "@" in parts.netloc or "?" in value or "#" in value:
        raise ValueError("a user name, a query or a fragment cannot be part of it")
    return value.rstrip("/")


def _private_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("expected https://, because it tells what a tool is about to do (http:// on loopback only)")
    return value


def _sid(prefix: str, what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(prefix + "[0-9a-fA-F]{32}", value):
            raise ValueError(f"{what} is {prefix} and 32 hexadecimal digits; copy it from https://console.twilio.com")
        return value

    return AfterValidator(check)


def _agent(value: str) -> str:
    if not re.fullmatch(r"[\w.]+:\w+", value):
        raise ValueError("expected MODULE:NAME, such as my_company.front_desk:agent")
    return value


def _number(value: str) -> str:
    if not re.fullmatch(r"\+[1-9]\d{1,14}", value):
        raise ValueError("expected a number in E.164, such as +15550100")
    return value


def _agents(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    entries = tuple(entry.strip() for entry in value.split(",") if entry.strip())
    for entry in entries:
        number, separator, name = entry.rpartition("=")
        _agent(name)
        if separator:
            _number(number)
    return entries


def _countries(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    codes = tuple(code.strip().upper() for code in value.split(",") if code.strip())
    for code in codes:
        if not re.fullmatch("[A-Z]{2}", code):
            raise ValueError(f"{code!r} is not a two-letter country code (ISO 3166), such as US or DE")
    return codes


def _database_url(value: str) -> str:
    if not value.startswith(("sqlite:///", "postgresql://")):
        raise ValueError("expected sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE")
    return value


def _notice(value: str) -> str:
    if len(value) > NOTICE_CHARS_MAX:
        raise ValueError(f"at most {NOTICE_CHARS_MAX} characters: the caller waits until it has been said")
    return "" if value.lower() == "off" else value


def _redact(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return rules_of(value)
    except MisuseError as e:
        raise ValueError(str(e)) from e


def _recording_keys(value: SecretStr) -> SecretStr:
    from realtime_bridge.tape.keys import TapeKeys  # noqa: PLC0415 - brings cryptography, which few commands need

    try:
        TapeKeys.from_settings(None, secrets_in(value))
    except MisuseError as e:
        raise ValueError(str(e)) from e
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]


class Settings(BaseSettings):
    """Read with `load_settings`; each field is the environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    openai_api_key: SecretStr | None = Field(
        None, description="Key for the realtime model. Without one, the local model answers."
    )
    openai_base_url: HttpUrl = Field(
        "https://api.openai.com/v1", description="The model's API; its Realtime WebSocket is the same URL with ws(s)."
    )
    realtime_model: str = Field("gpt-realtime", description="The realtime model.")
    realtime_audio: Literal["pcm", "pcmu"] = Field(
        "pcm",
        description="Audio towards the model: pcm (PCM16 at 24 kHz) or pcmu (the phone's own G.711, passed through).",
    )
    realtime_session_seconds: float = Field(
        3300.0,
        gt=0,
        description="How many seconds a call stays in one model session at most, before it changes to a fresh one, unheard; "
        "sooner where the model says that it ends sessions sooner (OpenAI: after 3600).",
    )
    judge_model: str = Field(
        "gpt-5-mini",
        description="Which of OpenAI's chat models judges meanings that tests of calls expect (`means:`); with "
        "LOCAL_LLM_BASE_URL, LOCAL_LLM_MODEL does.",
    )
    local_llm_base_url: HttpUrl | None = Field(
        None, description="An OpenAI-compatible chat endpoint that decides what the offline model says, with /v1."
    )
    local_llm_model: str | None = Field(None, description="Which of that endpoint's models to ask.")
    local_llm_api_key: SecretStr | None = Field(None, description="Key for that endpoint, where it wants one.")
    local_model_api_key: SecretStr | None = Field(
        None, description="Key that clients of `local-model` must bring. Without one, none is asked for."
    )
    twilio_account_sid: Annotated[str, _sid("AC", "an account SID")] | None = Field(
        None, description="The Twilio account."
    )
    twilio_auth_token: SecretStr | None = Field(
        None, description="Proves that requests come from Twilio. Without it, the server answers on loopback only."
    )
    twilio_api_key_sid: Annotated[str, _sid("SK", "an API key's SID")] | None = Field(
        None, description="API key for calls to Twilio, instead of the auth token."
    )
    twilio_api_key_secret: SecretStr | None = Field(None, description="The secret of that API key.")
    twilio_api_base_url: HttpUrl = Field(
        "https://api.twilio.com", description="Twilio's REST API, or a simulator's of the same shape."
    )
    twilio_number: Annotated[str, AfterValidator(_number)] | None = Field(
        None, description="The account's number in E.164 that outbound calls come from, unless they say otherwise."
    )
    public_url: HttpUrl | None = Field(
        None, description="How Twilio reaches this server, such as https://phone.example.com; what Twilio signs."
    )
    database_url: Annotated[str, AfterValidator(_database_url)] | None = Field(
        None, description="sqlite:///PATH or postgresql://…. By default, an SQLite file in DATA_DIR."
    )
    data_dir: Path = Field(Path("data"), description="Where recordings and tapes are kept.")
    agent: Annotated[str, AfterValidator(_agent)] | None = Field(
        None, description="MODULE:NAME of the agent that answers. By default, the demo agent."
    )
    agents: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Further agents, separated by commas: MODULE:NAME, or NUMBER=MODULE:NAME for calls to that number.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")
    log_format: Literal["console", "json"] = Field("console", description="Log lines for people or for machines.")
    metrics_token: SecretStr | None = Field(
        None, description="Bearer token that /metrics asks for. Without one, whoever reaches the port may read it."
    )
    tracing: bool = Field(
        default=False,
        description="Whether spans of calls, turns and tools go out by OTLP: on or off. OTEL_EXPORTER_OTLP_ENDPOINT says where.",
    )
    workers: int = Field(1, ge=1, le=64, description="Processes that answer calls on the one port.")
    drain_seconds_max: float = Field(
        600, ge=0, description="How long calls may go on when the server is told to stop (SIGTERM), in seconds."
    )
    record_calls: bool = Field(
        default=True,
        description="Whether calls are recorded: on or off. An agent (PhoneAgent) or whoever places a call may say otherwise.",
    )
    recording_notice: Annotated[str, AfterValidator(_notice)] = Field(
        "This call is recorded.",
        description="What callers of recorded calls are told first, word for word; if they cannot be, the call is not recorded. "
        "off for nothing.",
    )
    recording_pause_seconds_max: float = Field(
        120.0, ge=5, le=1800, description="After so many seconds a pause of the recording ends by itself."
    )
    recording_days_max: float | None = Field(
        None,
        gt=0,
        description="Recordings, and what was said in them, are deleted after so many days; by default never.",
    )
    call_days_max: float | None = Field(
        None,
        ge=1,
        description="What is stored of a call is deleted after so many days, and not before its recording; by default never.",
    )
    audit_days_max: float | None = Field(
        None,
        ge=1,
        description="The audit, and API tokens that have ended, are deleted after so many days; by default never.",
    )
    recording_key: Annotated[SecretStr, AfterValidator(_recording_keys)] | None = Field(
        None,
        description="Key that recordings are sealed with on disk: base64 of 32 bytes, from `openssl rand -base64 32`.",
    )
    recording_keys_old: Annotated[SecretStr, AfterValidator(_recording_keys)] | None = Field(
        None, description="Keys before that one, separated by commas, by which older recordings can still be read."
    )
    redact: Annotated[tuple[str, ...], NoDecode] = Field(
        ("cards",),
        description="What is blackened in transcripts, tools and events: cards (13 digits and more), digits (4 and more), a "
        'pattern (RE2), a JSON list of those (["cards", "code \\w+"]), or off.',
    )
    max_calls: int = Field(100, ge=1, description="Calls at once, per process; above it, callers get the busy answer.")
    overflow_message: str = Field(
        "All our lines are busy. Please call again in a few minutes.",
        description="What callers are told when no agent can talk to them.",
    )
    overflow_number: Annotated[str, AfterValidator(_number)] | None = Field(
        None, description="Number in E.164 that such callers are then connected to, if any."
    )
    overflow_queue: str | None = Field(None, description="Twilio queue that such callers then wait in, if any.")
    call_seconds_max: int = Field(3600, ge=1, description="The longest a call may last, in seconds.")
    silence_seconds: float | None = Field(
        10,
        ge=1,
        le=600,
        description="After so many seconds without a word callers are asked whether they are there, twice; then told goodbye.",
    )
    ring_seconds: int = Field(
        30, ge=5, le=600, description="How long the phone of somebody we call may ring, in seconds."
    )
    allowed_countries: Annotated[tuple[str, ...], NoDecode] = Field(
        ("US",), description="Countries that outbound calls may go to: two-letter codes, separated by commas."
    )

    approval_seconds: float = Field(
        300.0,
        ge=1,
        le=86400,
        description="How long a tool call waits for its approval, in seconds; then it is rejected.",
    )
    approval_webhook_url: Annotated[HttpUrl, AfterValidator(_private_url)] | None = Field(
        None, description="Where waiting approvals are announced: a signed POST (Standard Webhooks)."
    )
    approval_webhook_secret: SecretStr | None = Field(
        None, description="Signs those posts: whsec_ and base64, or any text of 16 characters or more."
    )

    @field_validator("*", mode="before")
    @classmethod
    def _strip(cls, value: Any) -> Any:
        return value.strip() if isinstance(value, str) else value

    @field_validator("log_level", "log_format", "realtime_audio", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    _split_agents = field_validator("agents", mode="before")(_agents)
    _split_countries = field_validator("allowed_countries", mode="before")(_countries)
    _split_rules = field_validator("redact", mode="before")(_redact)

    @model_validator(mode="after")
    def _pairs(self) -> Settings:
        if (self.twilio_api_key_sid is None) != (self.twilio_api_key_secret is None):
            raise ValueError("TWILIO_API_KEY_SID and TWILIO_API_KEY_SECRET belong together: set both or none")
        if (self.approval_webhook_url is None) != (self.approval_webhook_secret is None):
            raise ValueError("APPROVAL_WEBHOOK_URL and APPROVAL_WEBHOOK_SECRET belong together: set both or none")
        if len(secrets_in(self.recording_key)) > 1:
            raise ValueError("RECORDING_KEY is one key; those before it belong into RECORDING_KEYS_OLD")
        if self.local_llm_base_url is not None and self.local_llm_model is None:
            raise ValueError("LOCAL_LLM_BASE_URL is set, but LOCAL_LLM_MODEL does not name the model to ask")
        if self.overflow_number is not None and self.overflow_queue is not None:
            raise ValueError("OVERFLOW_NUMBER and OVERFLOW_QUEUE exclude each other: set one of them")
        return self


def load_settings(**overrides: Any) -> Settings:
    """The settings of the environment and `.env`; `overrides` (by field name) win. Raises SettingsError."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as e:
        lines = []
        for error in e.errors(include_url=False, include_input=False):
            name = str(error["loc"][0]).upper() + ": " if error["loc"] else ""
            lines.append(name + error["msg"].removeprefix("Value error, "))
        raise SettingsError("\n".join(dict.fromkeys(lines))) from None  # the cause would repeat it, less clearly


def database_url(settings: Settings) -> str:
    """DATABASE_URL, or a file in DATA_DIR, which is made."""
    if settings.database_url is not None:
        return settings.database_url
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{settings.data_dir / 'realtime-bridge.db'}"


def check_signing(settings: Settings) -> None:
    """Whether requests can be checked, if they are to be. Raises SettingsError."""
    if settings.twilio_auth_token is not None and settings.public_url is None:
        raise SettingsError(
            "PUBLIC_URL: needed with TWILIO_AUTH_TOKEN, since Twilio signs the URL it calls; "
            "set it to this server's address as Twilio knows it, such as https://phone.example.com"
        )


def check_exposure(settings: Settings, host: str) -> None:
    """Refuse to listen where strangers could call who cannot be told from Twilio. Raises SettingsError."""
    if settings.twilio_auth_token is not None:
        return
    teaching = (
        "anyone could use the model at your cost, because without TWILIO_AUTH_TOKEN requests cannot be checked. "
        "Set it (https://console.twilio.com, Account info), or"
    )
    if not is_loopback(host):
        raise SettingsError(f"HOST: {host} can be reached from other machines: {teaching} listen on 127.0.0.1")
    if settings.public_url is not None and not is_loopback(urlsplit(settings.public_url).hostname or ""):
        raise SettingsError(f"PUBLIC_URL: {settings.public_url} opens this server to the world: {teaching} unset it")


def secrets_in(value: SecretStr | None) -> tuple[str, ...]:
    """Of a setting that may hold several, separated by commas."""
    if value is None:
        return ()
    return tuple(text.strip() for text in value.get_secret_value().split(",") if text.strip())


def recording_key(settings: Settings) -> TapeKey | None:
    """What recordings are sealed with; None: they are not."""
    from realtime_bridge.tape.keys import TapeKey  # noqa: PLC0415 - as in `_recording_keys`

    keys = secrets_in(settings.recording_key)
    return TapeKey.from_setting(keys[0]) if keys else None


def recording_keys(settings: Settings) -> TapeKeys:
    """All that recordings may be read with."""
    from realtime_bridge.tape.keys import TapeKeys  # noqa: PLC0415 - as above

    return TapeKeys.from_settings(None, (*secrets_in(settings.recording_key), *secrets_in(settings.recording_keys_old)))


def secret_values(settings: Settings) -> list[str]:
    """All that must not appear in logs: each secret's text, the database's password among them."""
    values = [getattr(settings, name) for name in Settings.model_fields]
    secrets = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
    secrets += secrets_in(settings.recording_keys_old)
    password = urlsplit(settings.database_url or "").password
    return [*secrets, password] if password else secrets


class SettingRow(msgspec.Struct, frozen=True):
    """One line of the table. `value` is None when unset, and masked where it is secret."""

    name: str
    value: str | None
    is_set: bool
    description: str


def settings_table(settings: Settings) -> list[SettingRow]:
    """All settings in their order of declaration, fit for printing."""
    return [
        SettingRow(name.upper(), _shown(getattr(settings, name)), name in settings.model_fields_set, field.description or "")
        for name, field in Settings.model_fields.items()
    ]  # fmt: skip


def _shown(value: Any) -> str | None:
    match value:
        case None:
            return None
        case SecretStr():
            return "********"
        case bool():
            return "on" if value else "off"
        case tuple():
            return ",".join(value)
    return re.sub(r"(?<=//)([^:/@]*):[^@]*@", r"\1:********@", str(value))
