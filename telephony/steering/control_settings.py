"""How a live call is steered, and every limit on it: one struct per concern, checked when it is made.

A program gives its own per agent or per call; each field has a default that suits an ordinary conversation.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from realtime_bridge.errors import MisuseError

OnMachine = Literal["talk", "hang_up", "leave_message"]
HoldSound = Literal["music", "silence"]


class _Settings(msgspec.Struct, frozen=True, kw_only=True):
    def _within(self, field: str, low: float, high: float) -> None:
        value = getattr(self, field)
        if value is not None and not low <= value <= high:
            raise MisuseError(f"{type(self).__name__}.{field}: {value:g} is not between {low:g} and {high:g}")


class SilenceSettings(_Settings, frozen=True, kw_only=True):
    """What to do when nobody speaks: each prompt after `after_s` more of silence, then the goodbye.

    `after_s` None switches it off. Texts are said word for word. Time in which a tool runs, an approval is awaited, the
    caller is on hold or the model is being reached again does not count.
    """

    after_s: float | None = 10.0
    prompts: tuple[str, ...] = ("Are you still there?", "I cannot hear you. Are you still there?")
    goodbye: str = "I cannot hear you, so I will end the call now. Goodbye!"

    def __post_init__(self) -> None:
        self._within("after_s", 1.0, 600.0)
        if len(self.prompts) > 10:
            raise MisuseError("SilenceSettings.prompts: at most 10")


class LengthSettings(_Settings, frozen=True, kw_only=True):
    """How long a call may last, from the start of its stream: a spoken warning before, a spoken goodbye at the end.

    A call shorter than twice `warning_before_s` is not warned.
    """

    seconds_max: float = 3600.0
    warning_before_s: float | None = 60.0
    warning: str = "I have to tell you that this call will end in about a minute."
    goodbye: str = "I am sorry, but our time is up and I have to end the call now. Goodbye!"

    def __post_init__(self) -> None:
        self._within("seconds_max", 1.0, 4 * 3600.0)
        self._within("warning_before_s", 5.0, 600.0)


class DigitSettings(_Settings, frozen=True, kw_only=True):
    """Keys that nobody waits for: told to the model as one message of the caller's, or not at all.

    A message is complete when `pause_s` pass without a key, with the terminator, or with `digits_max` keys. The first
    key stops what the agent is saying, where `interrupt` is on.
    """

    to_conversation: bool = True
    pause_s: float = 2.5
    terminator: str = "#"
    digits_max: int = 32
    message: str = "The caller pressed {digits} on the keypad."
    interrupt: bool = True

    def __post_init__(self) -> None:
        self._within("pause_s", 0.5, 30.0)
        self._within("digits_max", 1, 64)
        if not set(self.terminator) <= set("0123456789*#ABCD"):
            raise MisuseError(f"DigitSettings.terminator: {self.terminator!r} has keys that no phone has")
        if "{digits}" not in self.message:
            raise MisuseError("DigitSettings.message: {digits} is missing")


class MachineSettings(_Settings, frozen=True, kw_only=True):
    """What to do when answering-machine detection says that a machine has answered. A fax is always hung up on.

    `leave_message`: wait for the beep, or for the end of the announcement, say `message` (or play recorded audio, see
    `CallControl.machine_detected`), and hang up when it has been heard.
    """

    on_machine: OnMachine = "hang_up"
    message: str = ""
    announcement_s_max: float = 45.0  # to wait for the end of it
    quiet_s: float = 2.0  # of silence that end it

    def __post_init__(self) -> None:
        self._within("announcement_s_max", 1.0, 180.0)
        self._within("quiet_s", 0.5, 10.0)


class TransferSettings(_Settings, frozen=True, kw_only=True):
    """How the caller is passed on to a person. Times in seconds.

    `ring_s`: how long the other phone may ring. `answer_s`: how long the person, once the summary has been said (twice),
    may take to press 1. `consult_s`: the longest the caller waits in a warm transfer, whatever happens.

    `countries`: where numbers may lie (ISO 3166, two letters). `caller_id`: whom the person sees calling; empty: our own
    number in this call.
    """

    countries: tuple[str, ...] = ("US",)
    caller_id: str = ""

    ring_s: int = 25
    answer_s: int = 6
    consult_s: float = 90.0
    summary: str = "A caller is on the line for you."
    instruction: str = "Press 1 to take the call. Press any other key to decline."
    accepted: str = "Thank you. I am connecting you."
    declined: str = "All right. Goodbye."
    language: str = "en-US"

    def __post_init__(self) -> None:
        self._within("ring_s", 5, 120)
        self._within("answer_s", 1, 30)
        self._within("consult_s", 10.0, 300.0)


class RecordingSettings(_Settings, frozen=True, kw_only=True):
    """`pause_s_max`: after so long a pause of the recording ends by itself. `notice_s_max`: the longest that the caller's
    hearing of the notice may take; then the call goes on, unrecorded."""

    pause_s_max: float = 120.0
    notice_s_max: float = 30.0

    def __post_init__(self) -> None:
        self._within("pause_s_max", 5.0, 1800.0)
        self._within("notice_s_max", 5.0, 120.0)


class ControlSettings(_Settings, frozen=True, kw_only=True):
    """Everything about the steering of one call. `public_url`: this server as Twilio reaches it, for its webhooks.

    `goodbye`: said before a hang-up when the agent has said nothing since the caller spoke. `goodbye_s_max`: the longest
    that a goodbye is waited for; `goodbye_wait_s`: the longest silence meanwhile. `hold_s_max`: the longest that the
    caller is on hold; then the line is taken back.
    """

    silence: SilenceSettings = SilenceSettings()
    length: LengthSettings = LengthSettings()
    digits: DigitSettings = DigitSettings()
    machine: MachineSettings = MachineSettings()
    transfer: TransferSettings = TransferSettings()
    recording: RecordingSettings = RecordingSettings()
    goodbye: str = "Goodbye!"
    goodbye_s_max: float = 30.0
    goodbye_wait_s: float = 6.0
    hold_sound: HoldSound = "music"
    hold_s_max: float = 300.0
    rest_s_max: float = 10.0
    public_url: str = ""

    def __post_init__(self) -> None:
        self._within("goodbye_s_max", 1.0, 120.0)
        self._within("goodbye_wait_s", 1.0, 30.0)
        self._within("hold_s_max", 5.0, 1800.0)
        self._within("rest_s_max", 1.0, 60.0)
