"""Where the endpoint may listen."""

import pytest
from leanmesh.errors import LocalError
from leanmesh.web.params import WebParams, split_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9470", ("127.0.0.1", 9470)),
        ("localhost:0", ("127.0.0.1", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
    ],
)
def test_addresses_that_are_understood(text: str, address: tuple[str, int]):
    assert split_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "9470", ":9470", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "host:1", "127.0.0.1:-1"]
)
def test_any_other_text_is_refused_with_an_example(text: str):
    with pytest.raises(LocalError) as caught:
        WebParams(listen=text)
    assert str(caught.value) == (
        f"{text!r} is no address to listen on; "
        "write an IP address and a port, such as 127.0.0.1:9470 or [::1]:0"
    )


@pytest.mark.parametrize("text", ["0.0.0.0:0", "[::]:0", "192.0.2.1:9470"])
def test_beyond_loopback_only_with_the_settings_word_for_it(text: str):
    with pytest.raises(LocalError, match=r"set allow_plain_metrics = true under \[web\]"):
        WebParams(listen=text)
    assert WebParams(listen=text, allow_plain_metrics=True).listen == text


def test_all_of_127_is_loopback():
    assert WebParams(listen="127.8.8.8:0").listen == "127.8.8.8:0"
