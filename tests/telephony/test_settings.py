"""Settings: where they come from, what they refuse, and what nobody may read in them."""

from pathlib import Path

import pytest

from realtime_bridge.tape import TapeKey
from telephony.settings import (
    Settings,
    SettingsError,
    check_exposure,
    check_signing,
    is_loopback,
    load_settings,
    recording_key,
    recording_keys,
    secret_values,
    settings_table,
)

ACCOUNT, KEY = "AC" + "0" * 32, "SK" + "a" * 32
RECORDING_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_every_setting_has_a_default_and_is_documented():
    table = settings_table(load_settings())
    assert [row.name.lower() for row in table] == list(Settings.model_fields)
    assert all(row.description.endswith(".") for row in table)
    assert not any(row.is_set for row in table)


def test_the_environment_wins_over_the_file_and_arguments_over_both(monkeypatch):
    Path(".env").write_text("PORT=1\nHOST=file\nAGENT=file.module:agent\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("HOST", "environment")
    monkeypatch.setenv("AGENT", "environment.module:agent")
    settings = load_settings(agent="argument.module:agent", port=None)
    assert (settings.port, settings.host, settings.agent) == (1, "environment", "argument.module:agent")


def test_values_are_read_as_people_write_them(monkeypatch):
    for name, value in {
        "RECORD_CALLS": "off", "ALLOWED_COUNTRIES": " us, de ,", "LOG_LEVEL": "DEBUG", "REALTIME_AUDIO": "PCMU",
        "PUBLIC_URL": " https://phone.example.com/ ", "OPENAI_API_KEY": " key\n", "TWILIO_AUTH_TOKEN": "",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.record_calls is False
    assert settings.allowed_countries == ("US", "DE")
    assert (settings.log_level, settings.realtime_audio) == ("debug", "pcmu")
    assert settings.public_url == "https://phone.example.com"
    assert settings.openai_api_key.get_secret_value() == "key"
    assert settings.twilio_auth_token is None


def test_what_is_recorded_is_settled_in_a_few_words(monkeypatch):
    assert load_settings().recording_notice == "This call is recorded."
    assert load_settings().redact == ("cards",)
    for name, value in {
        "RECORDING_NOTICE": "Off", "REDACT": r'["digits", "code \\w+"]', "RECORDING_KEY": RECORDING_KEY,
        "RECORDING_KEYS_OLD": f"{RECORDING_KEY}, {RECORDING_KEY}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.recording_notice, settings.redact) == ("", ("digits", r"code \w+"))
    assert recording_key(settings).key_id == TapeKey(bytes(32)).key_id
    assert recording_keys(settings).get(TapeKey(bytes(32)).key_id) is not None
    assert RECORDING_KEY in secret_values(settings)
    assert RECORDING_KEY not in str(settings_table(settings))


@pytest.mark.parametrize(
    ("name", "value", "teaching"),
    [
        ("PORT", "http", "PORT: .*integer"),
        ("PORT", "70000", "PORT: .*65535"),
        ("MAX_CALLS", "0", "MAX_CALLS: .*1"),
        ("REALTIME_AUDIO", "opus", "REALTIME_AUDIO: .*'pcm' or 'pcmu'"),
        ("RECORD_CALLS", "maybe", "RECORD_CALLS: .*boolean"),
        ("RECORDING_NOTICE", "x" * 501, "RECORDING_NOTICE: at most 500 characters"),
        ("RECORDING_PAUSE_SECONDS_MAX", "1", "RECORDING_PAUSE_SECONDS_MAX: .*5"),
        ("RECORDING_DAYS_MAX", "0", "RECORDING_DAYS_MAX: .*greater than 0"),
        ("RECORDING_KEY", "secret", "RECORDING_KEY: .*openssl rand -base64 32"),
        ("RECORDING_KEY", f"{RECORDING_KEY},{RECORDING_KEY}", "RECORDING_KEY is one key"),
        ("RECORDING_KEYS_OLD", f"{RECORDING_KEY},x", "RECORDING_KEYS_OLD: .*recording key"),
        ("REDACT", "(", "REDACT: .*is no pattern"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: .*'debug'"),
        ("PUBLIC_URL", "phone.example.com", "PUBLIC_URL: expected http"),
        ("PUBLIC_URL", "wss://phone.example.com", "PUBLIC_URL: expected http"),
        ("PUBLIC_URL", "https://", "PUBLIC_URL: expected http"),
        ("PUBLIC_URL", "https://[::1", "PUBLIC_URL: expected http"),
        ("PUBLIC_URL", "https://a:99999", "PUBLIC_URL: expected http"),
        ("PUBLIC_URL", "https://user:pass@phone.example.com", "PUBLIC_URL: a user name"),
        ("PUBLIC_URL", "https://phone.example.com?a=b", "PUBLIC_URL: .*query"),
        ("TWILIO_ACCOUNT_SID", "AC123", "TWILIO_ACCOUNT_SID: .*console.twilio.com"),
        ("TWILIO_API_KEY_SID", ACCOUNT, "TWILIO_API_KEY_SID: .*SK"),
        ("LOCAL_LLM_BASE_URL", "localhost:80", "LOCAL_LLM_BASE_URL: expected http"),
        ("AGENT", "my_module", "AGENT: expected MODULE:NAME"),
        ("ALLOWED_COUNTRIES", "US,Germany", "ALLOWED_COUNTRIES: 'GERMANY' .*ISO 3166"),
        ("DATABASE_URL", "mysql://x", "DATABASE_URL: expected sqlite"),
    ],
)
def test_a_wrong_value_is_named_and_what_is_right_is_said(monkeypatch, name, value, teaching):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=teaching):
        load_settings()


def test_all_mistakes_are_told_at_once(monkeypatch):
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("AGENT", "x")
    with pytest.raises(SettingsError, match=r"AGENT.*\n.*PORT|PORT.*\n.*AGENT"):
        load_settings()


def test_an_api_key_needs_its_secret(monkeypatch):
    monkeypatch.setenv("TWILIO_API_KEY_SID", KEY)
    with pytest.raises(SettingsError, match="TWILIO_API_KEY_SECRET belong together"):
        load_settings()


def test_a_language_model_is_named_with_its_endpoint(monkeypatch):
    monkeypatch.setenv("LOCAL_LLM_BASE_URL", "http://localhost:8000/v1")
    with pytest.raises(SettingsError, match="LOCAL_LLM_MODEL does not name"):
        load_settings()
    monkeypatch.setenv("LOCAL_LLM_MODEL", "m")
    assert load_settings().local_llm_base_url == "http://localhost:8000/v1"


def test_secrets_are_nowhere_to_be_read(monkeypatch):
    secret = "hunter2-secret"
    for name in (
        "OPENAI_API_KEY",
        "TWILIO_AUTH_TOKEN",
        "TWILIO_API_KEY_SECRET",
        "LOCAL_LLM_API_KEY",
        "LOCAL_MODEL_API_KEY",
    ):
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://user:{secret}@host/db")
    with pytest.raises(SettingsError) as caught:
        load_settings()  # the key's SID is missing
    assert secret not in str(caught.value)
    monkeypatch.setenv("TWILIO_API_KEY_SID", KEY)
    settings = load_settings()
    rows = {row.name: row.value for row in settings_table(settings)}
    assert secret not in str(rows)
    assert rows["OPENAI_API_KEY"] == "********"
    assert rows["DATABASE_URL"] == "postgresql://user:********@host/db"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"])
def test_loopback_needs_no_token(host):
    assert is_loopback(host)
    check_exposure(load_settings(), host)
    check_exposure(load_settings(public_url="http://localhost:8080"), host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "phone.example.com", "", "127.0.0.1.example.com"])
def test_without_an_auth_token_strangers_are_kept_out(host):
    with pytest.raises(SettingsError, match="TWILIO_AUTH_TOKEN"):
        check_exposure(load_settings(), host)
    with pytest.raises(SettingsError, match=r"PUBLIC_URL: .*opens this server"):
        check_exposure(load_settings(public_url="https://tunnel.example.com"), "127.0.0.1")
    check_exposure(load_settings(twilio_auth_token="x", public_url="https://phone.example.com"), host)


def test_checking_signatures_needs_the_public_url():
    check_signing(load_settings())
    with pytest.raises(SettingsError, match="PUBLIC_URL: needed"):
        check_signing(load_settings(twilio_auth_token="x"))
