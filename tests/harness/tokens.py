"""Tokens as an identity provider would sign them."""

from __future__ import annotations

import time

import jwt

SECRET = "a secret of the tests, long enough for HS256"


def token(
    user: str | None = None, *, scope: str = "", organisation: str | None = None, expires_in_s: float = 600
) -> str:
    """A token of this user, signed with `SECRET`."""
    claims: dict[str, object] = {"exp": int(time.time() + expires_in_s)}
    if user is not None:
        claims["sub"] = user
    if organisation is not None:
        claims["org"] = organisation
    if scope:
        claims["scope"] = scope
    return jwt.encode(claims, SECRET, algorithm="HS256")
