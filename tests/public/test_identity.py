"""Who asks: secrets from cookies and headers, and the address to be counted, whatever is sent."""

import ipaddress
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.public.identity import COOKIE, HEADER, SECRET, address_of, new_cookie, secret_of, visitor_of

GOOD = "s" * 24
TOKEN = st.text(string.ascii_letters + string.digits + "_-", min_size=24, max_size=128)
PUBLIC = st.one_of(
    st.ip_addresses(network="8.0.0.0/8"), st.ip_addresses(network="2600::/16"), st.ip_addresses(network="93.0.0.0/8")
).map(str)
PRIVATE = st.one_of(
    st.ip_addresses(network="10.0.0.0/8"), st.ip_addresses(network="127.0.0.0/8"), st.ip_addresses(network="fd00::/8")
).map(str)


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)


@given(TOKEN)
def test_the_same_secret_is_the_same_visitor_by_cookie_or_header(secret: str) -> None:
    by_header = visitor_of({HEADER: secret}, "8.8.8.8")
    by_cookie = visitor_of({"cookie": f"other=1; {COOKIE}={secret}"}, "8.8.4.4")
    assert by_header.key == by_cookie.key and by_header.known and by_cookie.known
    assert secret not in by_header.key


@given(TOKEN, TOKEN)
def test_two_secrets_are_two_visitors(one: str, other: str) -> None:
    assert (visitor_of({HEADER: one}, "").key == visitor_of({HEADER: other}, "").key) is (one == other)


@given(st.text(max_size=200))
def test_no_cookie_line_breaks_it(line: str) -> None:
    given_secret = secret_of({"cookie": line})
    assert given_secret == "" or SECRET.fullmatch(given_secret)


@given(st.text(max_size=200))
def test_what_is_no_secret_makes_nobody_known(value: str) -> None:
    visitor = visitor_of({HEADER: value}, "8.8.8.8")
    assert visitor.known is bool(SECRET.fullmatch(value))


def test_nobody_takes_a_secret_for_an_address() -> None:
    bare = visitor_of({}, "8.8.8.8")
    assert not bare.known
    assert bare.key not in {visitor_of({HEADER: "address 8.8.8.8".ljust(24, "_")}, "").key, "address 8.8.8.8"}


@given(st.lists(PUBLIC, max_size=4), PUBLIC, PRIVATE)
def test_on_a_space_the_last_address_that_a_proxy_saw_counts(forged: list[str], real: str, proxy: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPACE_ID", "me/lab")
        line = ", ".join([*forged, real, proxy])
        assert address_of({"x-forwarded-for": line}, "10.0.0.9") == address_of({"x-forwarded-for": real}, "10.0.0.9")
        assert address_of({"x-forwarded-for": real}, "") != ""


@given(PUBLIC, PUBLIC)
def test_elsewhere_what_is_forwarded_counts_for_nothing(forged: str, real: str) -> None:
    assert address_of({"x-forwarded-for": forged}, real) == address_of({}, real) != ""


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_address_breaks_it(forwarded: str, host: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPACE_ID", "me/lab")
        address = address_of({"x-forwarded-for": forwarded}, host)
        assert address == "" or ipaddress.ip_network(address)


@given(st.ip_addresses(network="8.0.0.0/8").map(str))
def test_an_address_in_its_newer_form_is_the_same(address: str) -> None:
    assert address_of({}, f"::ffff:{address}") == address_of({}, address) == address


def test_a_household_is_one_address() -> None:
    assert address_of({}, "2600:1:2:3::4") == address_of({}, "2600:1:2:3:ffff::5") == "2600:1:2:3::/64"
    assert address_of({}, "2600:1:2:4::4") != address_of({}, "2600:1:2:3::4")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "", "testclient", "127.8.8.8"])
def test_this_machine_has_no_address(host: str) -> None:
    assert address_of({}, host) == ""


def test_a_cookie_is_new_each_time_and_read_back() -> None:
    one, other = new_cookie(secure=False), new_cookie(secure=True)
    assert secret_of({"cookie": one.split(";")[0]}) != secret_of({"cookie": other.split(";")[0]}) != ""
    assert all("HttpOnly" in cookie and "Path=/" in cookie for cookie in (one, other))
    assert "SameSite=Lax" in one and "SameSite=None; Secure; Partitioned" in other
