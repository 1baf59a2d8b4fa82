"""Decide which addresses a stranger's link may reach, and connect to no others."""

import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from utils.runtime.errors import UserError

USUAL_PORTS = frozenset((80, 443, 8000, 8080, 8443))
"""Ports of public web servers and of podcast hosts."""

CONNECT_PATIENCE = 10.0  # seconds for each address of a name

_GLOBAL_UNICAST = ip_network("2000::/3")

_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052; how hosts without IPv4 reach it

# Ranges that some versions of Python call global, and tunnels that lead to an IPv4 address written inside
# (Teredo, 6to4). https://www.iana.org/assignments/iana-ipv6-special-registry and its IPv4 twin.
_NEVER = tuple(
    ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)


class Unreachable(Exception):
    """A host has no address, or none of its addresses accepts a connection."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Check whether an address is one of the public internet.

    An IPv4 address inside an IPv6 address (mapped, or of NAT64) decides for both. Addresses of private
    networks, this machine, the link, shared networks, multicast, documentation, and tunnels are not public.
    """
    if isinstance(address, IPv6Address):
        inside = address.ipv4_mapped
        if address in _NAT64:
            inside = IPv4Address(int(address) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(inside)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast and not any(address in net for net in _NEVER)


def connect_checked(host: str, port: int, allow_private: Collection[str]) -> socket.socket:
    """Resolve a host once, check every address, and connect to one of these very addresses.

    Numbers of any form (`0x7f.1`, `2130706433`) are checked after the system has turned them into addresses.

    Args:
        host: A name, or an address without brackets.
        port: One of `USUAL_PORTS`, if the address is not in `allow_private`.
        allow_private: Addresses with ports, such as `127.0.0.1:8080` or `[::1]:8080`, that may be reached
            although they are not public, or the port is unusual.

    Raises:
        UserError: One of the addresses is not public, or the port is unusual. The message does not tell the
            address, because a stranger could explore the network with it.
        Unreachable: No such host, or it does not answer.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unreachable(f"there is no host {host}") from None
    for *_, place in found:
        _check_place(host, port, str(place[0]), allow_private)
    for family, kind, protocol, _, place in found:
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(CONNECT_PATIENCE)
        try:
            connection.connect(place)
        except OSError:
            connection.close()
            continue
        return connection
    raise Unreachable(f"{host} does not answer on port {port}")


def _check_place(host: str, port: int, number: str, allow_private: Collection[str]) -> None:
    written = f"[{number}]:{port}" if ":" in number else f"{number}:{port}"
    if written in allow_private:
        return
    if not is_public(ip_address(number)):
        raise UserError(f"{host}: this host is not on the public internet. Give a public link.")
    if port not in USUAL_PORTS:
        usual = ", ".join(map(str, sorted(USUAL_PORTS)))
        raise UserError(f"{host}: port {port} is not allowed in links. Give a link with one of {usual}.")
