"""The transform that does nothing still holds the limit."""

from leanmesh.gossip.transform import NoTransform


def test_what_travels_is_what_the_application_sees():
    transform = NoTransform()
    assert transform.compress(b"data") == b"data"
    assert transform.decompress(b"data", 4) == b"data"


def test_data_above_the_limit_is_invalid():
    assert NoTransform().decompress(b"data", 3) is None
