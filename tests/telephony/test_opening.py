"""How a call is steered: as its agent says, within what the server allows and whoever placed the call has asked for."""

from telephony.call_details import CallDetails
from telephony.opening import steering_of
from telephony.settings import Settings
from telephony.steering.control_settings import (
    ControlSettings,
    LengthSettings,
    MachineSettings,
    RecordingSettings,
    SilenceSettings,
    TransferSettings,
)

SETTINGS = Settings(
    _env_file=None,
    public_url="https://phone.example.com",
    call_seconds_max=600,
    silence_seconds=20,
    allowed_countries="US,DE",
    recording_pause_seconds_max=60,
)
CALL = CallDetails(call_sid="CA1", on_machine="leave_message", machine_message="Call back.")


def test_without_its_agents_word_a_call_goes_by_the_settings():
    how = steering_of(SETTINGS, CALL, None)
    assert (how.public_url, how.length.seconds_max, how.silence.after_s) == ("https://phone.example.com", 600, 20)
    assert (how.transfer.countries, how.recording.pause_s_max) == (("US", "DE"), 60)
    assert (how.machine.on_machine, how.machine.message) == ("leave_message", "Call back.")
    assert steering_of(SETTINGS, CallDetails(call_sid="CA1", seconds_max=30), None).length.seconds_max == 30


def test_an_agent_has_its_own_ways_within_the_servers_limits():
    own = ControlSettings(
        silence=SilenceSettings(after_s=None),
        length=LengthSettings(seconds_max=4000, goodbye="Time is up."),
        transfer=TransferSettings(countries=("FR",), ring_s=40),
        machine=MachineSettings(quiet_s=3.0, on_machine="talk"),
        recording=RecordingSettings(pause_s_max=300),
        public_url="https://elsewhere.example.com",
    )
    how = steering_of(SETTINGS, CALL, own)
    assert how.silence.after_s is None
    assert (how.length.seconds_max, how.length.goodbye) == (600, "Time is up.")
    assert (how.transfer.countries, how.transfer.ring_s) == (("US", "DE"), 40)
    assert (how.machine.on_machine, how.machine.quiet_s) == ("leave_message", 3.0)
    assert (how.recording.pause_s_max, how.public_url) == (300, "https://phone.example.com")
