"""Tokens of readers: random secrets, of which a database stores only keyed digests."""

from __future__ import annotations

import hashlib
import hmac
import secrets


def new_token(number: int) -> tuple[str, bytes, bytes]:
    """Draw a token for a reader; only its salt and digest are to be stored.

    Parameters
    ----------
    number : int
        Number of the reader.

    Returns
    -------
    tuple of (str, bytes, bytes)
        Token, salt (16 bytes) and digest (32 bytes).
    """
    token, salt = f"{number}-{secrets.token_urlsafe(32)}", secrets.token_bytes(16)
    return token, salt, token_digest(token, salt)


def token_digest(token: str, salt: bytes) -> bytes:
    """Compute the keyed digest of a token.

    Parameters
    ----------
    token : str
        Token.
    salt : bytes
        Key of the digest.

    Returns
    -------
    bytes
        HMAC-SHA-256, 32 bytes.
    """
    # A token holds 256 random bits, so that no slow hash is needed.
    return hmac.new(salt, token.encode("utf-8", "replace"), hashlib.sha256).digest()
