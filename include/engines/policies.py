"""
Columns whose values do not leave the source as they are.

A ``hash`` is HMAC-SHA256 with the password of the connection ``hash_key``, as hex digits. The
source computes it, so the key's two pads go into its query; the key itself does not.
"""

from __future__ import annotations

import hashlib

from include.catalog import Table
from include.errors import NotConfigured

_BLOCK = 64


def pads(table: Table, secret: bytes | None) -> tuple[bytes, bytes]:
    """
    Return the inner and the outer pad of HMAC-SHA256 for a key, as in RFC 2104.

    :raises NotConfigured: without a key.
    """
    if not secret:
        column = next(name for name, policy in table.changed.items() if policy == "hash")
        raise NotConfigured(
            f"{table.name}: {column} is to be hashed, but there is no key: set the password of the connection hash_key"
        )
    key = (hashlib.sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
    return bytes(byte ^ 0x36 for byte in key), bytes(byte ^ 0x5C for byte in key)
