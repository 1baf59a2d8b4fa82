"""Which addresses links may reach. The expected sets are those of the IANA registries."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.delivery.intake.addresses import Unreachable, connect_checked, is_public
from utils.runtime.errors import UserError

# https://www.iana.org/assignments/iana-ipv4-special-registry: not globally reachable; and multicast
SPECIAL = [
    ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
]

V4 = st.one_of(st.ip_addresses(v=4), *(st.ip_addresses(network=network) for network in SPECIAL))
V6 = st.one_of(
    st.ip_addresses(v=6),
    *(
        st.ip_addresses(network=network)
        for network in ("2000::/3", "2001::/23", "2002::/16", "fc00::/7", "fe80::/10", "ff00::/8", "::/96")
    ),
)


@given(V4)
def test_an_ipv4_address_is_public_outside_the_special_ranges(address):
    assert is_public(address) == (not any(address in network for network in SPECIAL))


@given(V4)
def test_an_ipv4_address_inside_an_ipv6_address_decides(address):
    assert is_public(IPv6Address(f"::ffff:{address}")) == is_public(address)
    assert is_public(IPv6Address(int(IPv6Address("64:ff9b::")) + int(address))) == is_public(address)
    assert not is_public(IPv6Address(int(IPv6Address("2002::")) + (int(address) << 80)))  # 6to4
    assert not is_public(IPv6Address(int(IPv6Address("2001::")) + int(address)))  # Teredo
    assert not is_public(IPv6Address(int(address)))  # "IPv4-compatible", RFC 4291


@given(V6)
def test_a_public_ipv6_address_is_global_for_python_too(address):
    inside = address.ipv4_mapped or IPv4Address(int(address) & 0xFFFFFFFF)
    is_wrapped = address.ipv4_mapped or address in ip_network("64:ff9b::/96")
    assert not is_public(address) or (inside if is_wrapped else address).is_global
    assert not (is_public(address) and (address.is_multicast or address.is_loopback or address.is_link_local))


@pytest.mark.parametrize("number", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450::1"])
def test_addresses_of_known_public_hosts_are_public(number):
    assert is_public(ip_address(number))


def answer_with(monkeypatch, *numbers):
    """Let every name resolve to these addresses."""

    def resolve(host, port, *args, **kwargs):
        return [
            (socket.AF_INET6 if ":" in number else socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port))
            for number in numbers
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_one_private_address_among_public_ones_is_refused(monkeypatch):
    answer_with(monkeypatch, "93.184.216.34", "10.0.0.1")
    with pytest.raises(UserError, match="not on the public internet") as refusal:
        connect_checked("host.example", 443, ())
    assert "10.0.0.1" not in str(refusal.value)


def test_an_unusual_port_of_a_public_address_is_refused(monkeypatch):
    answer_with(monkeypatch, "93.184.216.34")
    with pytest.raises(UserError, match="port 22 is not allowed"):
        connect_checked("host.example", 22, ())


def test_an_allowed_place_is_an_address_with_its_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect_checked("127.0.0.1", port, {f"127.0.0.1:{port}"}).close()
        with pytest.raises(UserError, match="not on the public internet"):
            connect_checked("127.0.0.1", port, {f"127.0.0.1:{port + 1}"})


def test_the_next_address_is_tried_if_one_does_not_answer(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answer_with(monkeypatch, "::1", "127.0.0.1")
        connect_checked("host.example", port, {f"[::1]:{port}", f"127.0.0.1:{port}"}).close()
    with pytest.raises(Unreachable, match="does not answer"):
        connect_checked("host.example", port, {f"[::1]:{port}", f"127.0.0.1:{port}"})
