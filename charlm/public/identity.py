"""Who asks: a visitor's secret, kept in a cookie or sent as a header, and the address the request came from."""

import hashlib
import ipaddress
import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from http.cookies import CookieError, SimpleCookie

from charlm.errors import LimitError
from charlm.public.limits import Visitor

COOKIE, HEADER = "charlm_visitor", "x-charlm-visitor"
SECRET = re.compile(r"[A-Za-z0-9_-]{24,128}")
KEPT_SECONDS = 90 * 86400  # how long a browser keeps the cookie

# Set by the middleware for what is answered at once; gradio's queue works later and keeps the request itself.
asking: ContextVar[Visitor | None] = ContextVar("asking", default=None)
# Returns the visitor who asks; None where there is none, as when the page is built.
Who = Callable[[], Visitor | None]


def someone(who: Who) -> Visitor:
    """The visitor who asks.

    Raises:
        LimitError: there is none.
    """
    visitor = who()
    if visitor is None:
        raise LimitError("it is not known who asks; load the page again")
    return visitor


def visitor_of(headers: Mapping[str, str], host: str) -> Visitor:
    """The visitor behind a request.

    Args:
        headers: of the request, names in small letters.
        host: the address at the other end of the connection.
    """
    address = address_of(headers, host)
    given = secret_of(headers)
    if given:
        return Visitor(_digest(f"secret {given}"), address)
    return Visitor(_digest(f"address {address or host}"), address, known=False)


def secret_of(headers: Mapping[str, str]) -> str:
    """The secret that came along; empty if there is none, or nothing that could be one."""
    given = headers.get(HEADER) or _cookie(headers.get("cookie", ""))
    return given if SECRET.fullmatch(given) else ""


def _cookie(line: str) -> str:
    try:
        found = SimpleCookie(line).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def address_of(headers: Mapping[str, str], host: str) -> str:
    """The internet address to be counted; "" for this machine itself.

    On a Space, requests come from its proxies, which append the address they saw; what stands before may be forged.
    """
    if os.environ.get("SPACE_ID"):
        seen = [one.strip() for one in headers.get("x-forwarded-for", "").split(",")]
        host = next((one for one in reversed(seen) if _is_global(one)), host)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if address.version == 6 and address.ipv4_mapped is not None:  # one that listens for both kinds says it so
        address = address.ipv4_mapped
    if address.is_loopback:
        return ""
    if address.version == 6:  # a household has a whole network of them
        return str(ipaddress.ip_network(f"{address}/64", strict=False))
    return str(address)


def _is_global(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def new_cookie(secure: bool) -> str:
    """A Set-Cookie header with a new secret.

    Args:
        secure: the page came by https; then it may stand in another site's frame, as a Space's does.
    """
    frame = "; SameSite=None; Secure; Partitioned" if secure else "; SameSite=Lax"
    return f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; HttpOnly; Max-Age={KEPT_SECONDS}{frame}"
