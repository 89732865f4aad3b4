"""The OpenAI Realtime API's events, typed: what a client sends (`client`), what a server sends (`server`), and the
conversation items both carry (`items`).

Pure: bytes in, frozen structs out, and back. The same types serve our client side and the offline model's server side.
Source: the typed events of the `openai` package (`openai/types/realtime`), GA version of the API.
"""

from realtime_bridge.wire import client, server
from realtime_bridge.wire.client import ClientEvent, append_frame, decode_client_event, encode
from realtime_bridge.wire.items import ContentPart, Item, Response, ResponseStatusDetails, Usage
from realtime_bridge.wire.server import ServerEvent, UnknownEvent, decode_server_event

__all__ = [
    "ClientEvent",
    "ContentPart",
    "Item",
    "Response",
    "ResponseStatusDetails",
    "ServerEvent",
    "UnknownEvent",
    "Usage",
    "append_frame",
    "client",
    "decode_client_event",
    "decode_server_event",
    "encode",
    "server",
]
