"""API keys: random secrets, hashed at rest, with scopes, a rate and an end.

A key reads `<id>.<secret>`; the secret has 256 random bits, so one keyed BLAKE2b hash is enough: there is nothing to guess
by dictionary, and it costs a microsecond per request. `read` asks for lists; `explain` is for what tells of other people:
who the users are, and what one has seen; `write` changes what everybody is shown; `admin` includes all. The file has one
JSON object per line and no secret:

    {"id": "page", "salt": "..", "hash": "..", "scopes": ["read"], "rate_per_s": 100.0, "expires_s": null}
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from semrec.errors import InputError

__all__ = ["SCOPES", "KeyRing", "StoredKey", "append_key", "make_key", "read_keys"]

Scope = Literal["read", "explain", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("read", "explain", "write", "admin")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HASH_BYTES: Final = 32


class StoredKey(BaseModel):
    """What is kept of a key. `admin` includes the other scopes. `rate_per_s`: requests per second and replica, None: any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=_ID.pattern)
    salt: str = Field(pattern="^[0-9a-f]{32}$")
    hash: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...]
    rate_per_s: float | None = Field(None, gt=0)
    expires_s: float | None = None

    def matches(self, secret: str) -> bool:
        """Whether `secret` is the one that this was made of; takes the same time either way."""
        return hmac.compare_digest(_hashed(secret, self.salt), self.hash)

    def may(self, scope: str) -> bool:
        """Whether the key has a scope."""
        return scope in self.scopes or "admin" in self.scopes

    def is_expired(self, now_s: float) -> bool:
        """Whether its end has passed."""
        return self.expires_s is not None and now_s >= self.expires_s


#: Compared against when an id is unknown, so that an unknown id takes as long as a wrong secret.
_NOBODY: Final = StoredKey(id="nobody", salt="0" * 32, hash="0" * 64, scopes=())


def make_key(
    key_id: str, scopes: Iterable[str], rate_per_s: float | None = None, expires_s: float | None = None
) -> tuple[str, StoredKey]:
    """A new key and what to keep of it. Raises InputError for an unusable id or an unknown scope."""
    chosen = tuple(scope for scope in SCOPES if scope in set(scopes))
    if not _ID.fullmatch(key_id) or not chosen or set(scopes) - set(SCOPES):
        raise InputError(
            f"key id {key_id!r} with scopes {sorted(set(scopes))}",
            expected=f"up to 64 letters, digits, - and _, and some of {', '.join(SCOPES)}",
            remedy="Choose another id or other scopes.",
        )
    secret, salt = secrets.token_urlsafe(32), secrets.token_hex(16)
    stored = StoredKey(
        id=key_id, salt=salt, hash=_hashed(secret, salt), scopes=chosen, rate_per_s=rate_per_s, expires_s=expires_s
    )
    return f"{key_id}.{secret}", stored


def append_key(path: str, key: StoredKey) -> None:
    """Adds a key to a file, which is made readable by its owner alone. Raises InputError when its id is taken."""
    file = Path(path)
    if file.exists() and any(known.id == key.id for known in read_keys(path)):
        raise InputError(f"key id {key.id!r}", expected="an id that the file does not have", remedy="Choose another.")
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(descriptor, "a", encoding="utf-8") as opened:
        opened.write(key.model_dump_json() + "\n")


def read_keys(path: str) -> list[StoredKey]:
    """The keys of a file. Raises InputError naming the line, never its content, and for a file that others may write."""
    try:
        if Path(path).stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise InputError(
                f"key file {path}, which others than its owner may write",
                expected="a file in which nobody else can put keys",
                remedy=f"chmod go-w {path}",
            )
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"key file {path}: {type(error).__name__}",
            expected="a readable file of keys",
            remedy="Make one with `semrec serve --make-key ID --keys-file FILE`.",
        ) from None
    return [_parsed(line, path, number) for number, line in enumerate(lines, start=1) if line.strip()]


class KeyRing:
    """The keys of a file, read again when it changes; a file that is broken meanwhile leaves the last good keys."""

    def __init__(self, path: str) -> None:
        self._path, self._lock = path, threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._keys: dict[str, StoredKey] = {}
        self.refresh()

    def refresh(self) -> None:
        """Looks whether the file changed. Raises InputError when it cannot be read; what was known stays."""
        with self._lock:
            seen = self._stamp()
            if seen is None or seen != self._seen:
                self._keys = {key.id: key for key in read_keys(self._path)}
                self._seen = seen

    def find(self, presented: str) -> StoredKey | None:
        """The key that was presented, or None for a wrong or expired one."""
        key_id, _, secret = presented.partition(".")
        known = self._keys.get(key_id, _NOBODY)
        good = known.matches(secret)
        return known if good and known is not _NOBODY and not known.is_expired(time.time()) else None

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = Path(self._path).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


def _parsed(line: str, path: str, number: int) -> StoredKey:
    try:
        return StoredKey.model_validate_json(line)
    except ValidationError:
        raise InputError(
            f"line {number} of key file {path} is not a key",
            expected="one JSON object per line, as --make-key writes it",
            remedy="Mend or remove the line.",
        ) from None


def _hashed(secret: str, salt: str) -> str:
    data = secret.encode("utf-8", "replace")
    return hashlib.blake2b(data, key=bytes.fromhex(salt), digest_size=_HASH_BYTES).hexdigest()
