"""Who may use the API and the console: bearer tokens, operators, and an audit of what they did.

Secrets are kept as hashes. A token is 32 random bytes, so a plain SHA-256 of it cannot be turned back; a password is
what people thought of, so it is made slow to try (scrypt, RFC 7914) and compared in constant time.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import insert, or_, select, update

from realtime_bridge.errors import MisuseError
from telephony.store.database import Database, columns_of, to_struct
from telephony.store.rows import AuditRow, OperatorRow, TokenRow
from telephony.store.schema import audit, operators, tokens

TOKEN_PREFIX: Final = "rb_"  # noqa: S105 - what secret scanners know a leaked one by
TOKEN_BYTES: Final = 32
SECRET_CHARACTERS_MAX: Final = 200
PASSWORD_CHARACTERS_MIN: Final = 10
PASSWORD_BYTES_MAX: Final = 1024
USED_EVERY: Final = timedelta(minutes=1)
LIST_MAX: Final = 1000
_SCRYPT: Final = {"n": 2**14, "r": 8, "p": 1, "maxmem": 2**26, "dklen": 32}

_TOKEN = columns_of(tokens, TokenRow)
_OPERATOR = columns_of(operators, OperatorRow)


class Access:
    """`Store.access`. Each method raises StoreError."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    # ---- tokens ------------------------------------------------------------------------------------------------------

    async def create_token(
        self, name: str, scopes: Sequence[str], expires_at: datetime | None = None
    ) -> tuple[TokenRow, str]:
        """A new token and its secret, which cannot be shown again."""
        secret = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        row = TokenRow(
            token_id=secrets.token_hex(6),
            name=name,
            scopes=tuple(scopes),
            created_at=self._clock(),
            expires_at=expires_at,
        )
        values = {column.name: getattr(row, column.name) for column in _TOKEN} | {"secret_hash": _hash(secret)}
        await self._database.write(lambda c: c.execute(insert(tokens).values(values)), "store a token")
        return row, secret

    async def find_token(self, secret: str) -> TokenRow | None:
        """The token of that secret, if it is valid now. When it was used last is noted, by the minute."""
        if len(secret) > SECRET_CHARACTERS_MAX or not secret.isascii():
            return None
        now = self._clock()
        valid = (
            tokens.c.secret_hash == _hash(secret),
            tokens.c.revoked_at.is_(None),
            or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now),
        )
        row = await self._database.read(lambda c: c.execute(select(*_TOKEN).where(*valid)).first(), "look up a token")
        if row is None:
            return None
        found = to_struct(TokenRow, row)
        if found.last_used_at is None or now - found.last_used_at >= USED_EVERY:
            used = update(tokens).where(tokens.c.token_id == found.token_id).values(last_used_at=now)
            await self._database.write(lambda c: c.execute(used), "note a token's use")
        return found

    async def revoke(self, token_id: str) -> bool:
        """Whether it was valid until now."""
        change = (
            update(tokens)
            .where(tokens.c.token_id == token_id, tokens.c.revoked_at.is_(None))
            .values(revoked_at=self._clock())
        )
        return await self._database.write(lambda c: c.execute(change).rowcount == 1, "revoke a token")

    async def list(self) -> tuple[TokenRow, ...]:
        """All tokens, revoked ones too, newest first."""
        query = select(*_TOKEN).order_by(tokens.c.created_at.desc()).limit(LIST_MAX)
        return await self._database.read(
            lambda c: tuple(to_struct(TokenRow, row) for row in c.execute(query)), "list tokens"
        )

    # ---- operators ---------------------------------------------------------------------------------------------------

    async def add_operator(self, name: str, password: str, scopes: Sequence[str]) -> OperatorRow | None:
        """A new operator; None when the name is taken. Raises MisuseError for a password that is too short or long."""
        row = OperatorRow(name=name, scopes=tuple(scopes), created_at=self._clock())
        hashed = await asyncio.to_thread(_hash_password, password)
        values = {column.name: getattr(row, column.name) for column in _OPERATOR} | {"password_hash": hashed}
        added = await self._database.write(lambda c: self._database.put_new(c, operators, values), "add an operator")
        return row if added else None

    async def check_operator(self, name: str, password: str) -> OperatorRow | None:
        """The operator of that name and password, unless disabled. Takes as long when there is none."""
        query = select(*_OPERATOR, operators.c.password_hash).where(operators.c.name == name)
        row = await self._database.read(lambda c: c.execute(query).first(), "look up an operator")
        hashed = _NOBODY if row is None else row.password_hash
        matches = await asyncio.to_thread(_is_password, password, hashed)
        if row is None or not matches or row.disabled_at is not None:
            return None
        return to_struct(OperatorRow, row)

    async def disable_operator(self, name: str) -> bool:
        """Whether they were there and enabled."""
        change = (
            update(operators)
            .where(operators.c.name == name, operators.c.disabled_at.is_(None))
            .values(disabled_at=self._clock())
        )
        return await self._database.write(lambda c: c.execute(change).rowcount == 1, "disable an operator")

    async def operators(self) -> tuple[OperatorRow, ...]:
        """All of them by name, disabled ones too."""
        query = select(*_OPERATOR).order_by(operators.c.name).limit(LIST_MAX)
        return await self._database.read(
            lambda c: tuple(to_struct(OperatorRow, row) for row in c.execute(query)), "list operators"
        )

    # ---- audit -------------------------------------------------------------------------------------------------------

    async def audit(self, who: str, action: str, subject: str, data: dict[str, Any] | None = None) -> None:
        """Write down what somebody did. `subject`: the id of what they did it to."""
        values = {"at": self._clock(), "who": who, "action": action, "subject": subject, "data": data or {}}
        await self._database.write(lambda c: c.execute(insert(audit).values(values)), "write the audit")

    async def audits(
        self, *, subject: str | None = None, who: str | None = None, before: int | None = None, limit: int = 100
    ) -> tuple[AuditRow, ...]:
        """Newest first; `before`: the last `audit_id` of the page before this."""
        query = select(*columns_of(audit, AuditRow)).order_by(audit.c.audit_id.desc()).limit(min(limit, LIST_MAX))
        if subject is not None:
            query = query.where(audit.c.subject == subject)
        if who is not None:
            query = query.where(audit.c.who == who)
        if before is not None:
            query = query.where(audit.c.audit_id < before)
        return await self._database.read(
            lambda c: tuple(to_struct(AuditRow, row) for row in c.execute(query)), "read the audit"
        )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _hash_password(password: str) -> str:
    data = password.encode("utf-8", "surrogatepass")
    if len(password) < PASSWORD_CHARACTERS_MIN or len(data) > PASSWORD_BYTES_MAX:
        raise MisuseError(
            f"a password needs {PASSWORD_CHARACTERS_MIN} characters, and at most {PASSWORD_BYTES_MAX} bytes"
        )
    salt = secrets.token_bytes(16)
    return f"scrypt${salt.hex()}${hashlib.scrypt(data, salt=salt, **_SCRYPT).hex()}"


def _is_password(password: str, hashed: str) -> bool:
    data = password.encode("utf-8", "surrogatepass")
    if len(data) > PASSWORD_BYTES_MAX:
        return False
    _, salt, expected = hashed.split("$")
    return hmac.compare_digest(hashlib.scrypt(data, salt=bytes.fromhex(salt), **_SCRYPT).hex(), expected)


# Compared with where no operator has the name, so that the time taken does not tell which names there are.
_NOBODY: Final = f"scrypt${'00' * 16}${'00' * 32}"
