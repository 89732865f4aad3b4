"""What goes into the bridge, beside the messages of the phone and the events of the model."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from realtime_bridge.wire import ClientEvent, ServerEvent, client
from realtime_bridge.wire.items import ContentIndex
from telephony.twilio.messages import Dtmf, Mark, Media, Stop


class _Input(msgspec.Struct, frozen=True, tag_field="type"):
    """Tagged like a client event, so that both kinds of program input are told apart on a tape."""


class Tick(_Input, frozen=True, tag="bridge.tick"):
    """Time has passed: the deadline was reached."""


class Interrupt(_Input, frozen=True, tag="bridge.interrupt"):
    """The program wants the reply stopped."""


class Mute(_Input, frozen=True, tag="bridge.mute"):
    """The model is to hear silence instead of the caller, or the caller again."""

    muted: bool


class MuteAgent(_Input, frozen=True, tag="bridge.mute_agent"):
    """The caller is to hear nothing of the agent, or to hear it again."""

    muted: bool


class Play(_Input, frozen=True, tag="bridge.play"):
    """The caller is to hear this audio of ours (G.711 mu-law, 8 kHz), after what the agent is saying.

    Empty: tell only when all up to here has been heard.
    """

    audio_id: str
    mulaw: bytes


class Hold(_Input, frozen=True, tag="bridge.hold"):
    """The caller waits: the model hears silence, the agent's audio is kept, and this loop is heard (mu-law; may be empty)."""

    loop: bytes


class EndHold(_Input, frozen=True, tag="bridge.end_hold"):
    """Caller and agent hear each other again."""


class Discard(_Input, frozen=True, tag="bridge.discard"):
    """Nothing more of this response is to be heard."""

    response_id: str


class HoldBack(_Input, frozen=True, tag="bridge.hold_back"):
    """The model's audio waits to be released, at most this long. Before the first audio."""

    budget_ms: int


class Release(_Input, frozen=True, tag="bridge.release"):
    """This item may be heard up to `audio_ms` (None: all of it)."""

    item_id: str
    content_index: ContentIndex
    audio_ms: int | None


class ModelSwitched(_Input, frozen=True, tag="bridge.model_switched"):
    """Another model session, confirmed already, has taken the place of the one before."""


class Resume(_Input, frozen=True, tag="bridge.resume"):
    """The new model session knows the conversation: the caller may be heard by it."""


class LineEnded(_Input, frozen=True, tag="bridge.line_ended"):
    """The caller is gone; nothing will be heard any more. The last input."""


class ModelGone(_Input, frozen=True, tag="bridge.model_gone"):
    """The model's socket is lost; another may come, and then begins with `session.update`."""


ProgramInput: TypeAlias = (
    ClientEvent
    | Interrupt
    | Mute
    | MuteAgent
    | Play
    | Hold
    | EndHold
    | Discard
    | HoldBack
    | Release
    | ModelGone
    | ModelSwitched
    | Resume
    | LineEnded
)
BridgeInput: TypeAlias = Media | Dtmf | Mark | Stop | ServerEvent | ProgramInput | Tick

# Client events that go to the model as they are.
PASSED_ON = (
    client.InputAudioBufferAppend,
    client.InputAudioBufferCommit,
    client.InputAudioBufferClear,
    client.OutputAudioBufferClear,
    client.ConversationItemCreate,
    client.ConversationItemRetrieve,
    client.ConversationItemDelete,
    client.ConversationItemTruncate,
    client.ResponseCreate,
    client.ResponseCancel,
)
