"""Who may see the page, and what is said about it."""

import pytest

from utils.delivery.app.server import open_warning, read_users
from utils.runtime.errors import UserError


def test_users_are_read(tmp_path):
    path = tmp_path / "users.txt"
    path.write_text("ada:pass:word \n\nbob: x\n")
    assert read_users(path) == [("ada", "pass:word "), ("bob", " x")]


@pytest.mark.parametrize(
    ("text", "told"),
    [("ada:\n", "line 1"), ("ada:x\nsecret\n", "line 2"), (":x", "line 1"), ("\n", "no user")],
)
def test_unusable_users_are_told_without_their_passwords(tmp_path, text, told):
    path = tmp_path / "users.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=told) as caught:
        read_users(path)
    assert "secret" not in str(caught.value)
    with pytest.raises(UserError, match="No such file"):
        read_users(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("host", "is_open"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("10.0.0.7", True),
        ("box", True),
    ],
)
def test_a_page_that_is_open_to_others_says_so(host, is_open):
    warning = open_warning(host, [])
    assert (warning is not None) == is_open and open_warning(host, [("ada", "x")]) is None
    assert not is_open or "without a password" in warning
