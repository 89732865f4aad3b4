"""Keys that records at rest are sealed with, and the old ones that still open what was sealed before.

Why it exists: recorded calls are other people's words. A key from the settings keeps them from whoever gets hold of the
disk alone. Every file is sealed under a key of its own (HKDF, RFC 5869, from the set key and the file's salt), so that
nonces may simply count within a file.

Pure: salts are handed in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from realtime_bridge.errors import MisuseError

KEY_BYTES: Final = 32
SALT_BYTES: Final = 16
_KEY_ID_PURPOSE: Final = b"realtime-bridge key id\0"


class TapeKey:
    """A key of 32 bytes. `key_id` names it in files and tells nothing of it."""

    __slots__ = ("_secret", "key_id")

    def __init__(self, secret: bytes) -> None:
        """Raises MisuseError when it is not 32 bytes long."""
        if len(secret) != KEY_BYTES:
            raise MisuseError(f"a recording key has {KEY_BYTES} bytes, this one {len(secret)}")
        self._secret = secret
        self.key_id: Final = hashlib.sha256(_KEY_ID_PURPOSE + secret).hexdigest()[:16]

    @classmethod
    def from_setting(cls, text: str) -> TapeKey:
        """From base64, usual or URL-safe. Raises MisuseError, which does not repeat the text."""
        try:
            secret = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            raise MisuseError(f"a recording key is the base64 of {KEY_BYTES} bytes (openssl rand -base64 32)") from None
        return cls(secret)

    def cipher(self, salt: bytes, purpose: str) -> AESGCM:
        """AES-256-GCM under the key of one file. `purpose`: what kind of file."""
        derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=f"realtime-bridge {purpose}".encode())
        return AESGCM(derived.derive(self._secret))

    def __repr__(self) -> str:
        return f"TapeKey({self.key_id})"


class TapeKeys:
    """The keys at hand, by their ids: the one that is set, and those before it."""

    def __init__(self, keys: Iterable[TapeKey] = ()) -> None:
        self._keys = {key.key_id: key for key in keys}

    @classmethod
    def from_settings(cls, key: str | None, old: Iterable[str] = ()) -> TapeKeys:
        """RECORDING_KEY and RECORDING_KEYS_OLD. Raises MisuseError."""
        return cls(TapeKey.from_setting(text) for text in (*([] if key is None else [key]), *old))

    def get(self, key_id: str) -> TapeKey | None:
        return self._keys.get(key_id)

    def __bool__(self) -> bool:
        return bool(self._keys)
