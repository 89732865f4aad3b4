"""The port that a server listens on."""

from __future__ import annotations

import socket
from typing import Final

from realtime_bridge.errors import TransportError

BACKLOG: Final = 512


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `port` 0 takes a free one. Raises TransportError when the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as e:
        raise TransportError(f"cannot listen on {host}, port {port}: {e}", retryable=False) from e


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
