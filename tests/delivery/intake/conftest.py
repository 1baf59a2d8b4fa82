"""Servers that the tests of links share."""

import pytest

from tests.support.link_servers import LinkServer, running


@pytest.fixture(scope="module")
def host():
    """A server that links may reach, with `allow_private={host.place}`."""
    with running(LinkServer()) as server:
        yield server


@pytest.fixture(scope="module")
def secret():
    """A server that no link may reach. Nothing may be asked of it."""
    with running(LinkServer()) as server:
        yield server
        assert server.asked == []
