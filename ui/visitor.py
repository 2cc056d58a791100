"""Who a visitor is: a random token in a cookie, which says nothing about the person and which no page can read."""

from __future__ import annotations

import re
import secrets
from http.cookies import CookieError, SimpleCookie

import streamlit as st
from starlette.types import Scope

COOKIE = "pairlift_visitor"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_SECONDS = 365 * 24 * 3600


def owner() -> str | None:
    """The token of the visitor whose tab this is; None where the browser keeps no cookies."""
    token = st.context.cookies.get(COOKIE, "")
    return token if isinstance(token, str) and _TOKEN.fullmatch(token) else None  # without a server it is anything


def cookie(scope: Scope) -> bytes | None:
    """The header that gives a visitor who asks for a page a token, or the same one for another year; else None."""
    headers = dict(scope["headers"])
    if scope["method"] != "GET" or b"text/html" not in headers.get(b"accept", b""):
        return None
    try:
        known = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        known = SimpleCookie()
    token = known[COOKIE].value if COOKIE in known else ""
    if not _TOKEN.fullmatch(token):
        token = secrets.token_urlsafe(32)
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    return f"{COOKIE}={token}; Path=/; Max-Age={_SECONDS}; HttpOnly; SameSite=Lax{secure}".encode()
