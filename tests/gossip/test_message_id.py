"""Message ids: the functions that networks agree on."""

import hashlib

import pytest
from leanmesh.gossip.message_id import DomainSeparatedHash, author_and_seqno, sha256_of_data
from leanmesh.gossip.rpc import Message
from leanmesh.gossip.signing import Signer, plain_message
from leanmesh.identity.keys import KeyKind, PrivateKey
from vectors import VectorCase, unhex, vector_cases

# The two schemes of the lean networks, as an application would state them.
LEAN = DomainSeparatedHash(valid_domain=b"\1\0\0\0", invalid_domain=b"\0\0\0\0")
ZIG = DomainSeparatedHash(
    valid_domain=b"\1\0\0\0", invalid_domain=b"\0\0\0\0", topic_length_format=">I", is_over_content=False
)


def test_the_default_id_is_author_and_sequence_number():
    key = PrivateKey.of_kind(KeyKind.ED25519, bytes(31) + b"\x07")
    message = Signer(key).message("t", b"data", 3)
    assert author_and_seqno(message, b"data") == bytes(key.peer_id) + b"\0\0\0\0\0\0\0\3"


def test_the_content_id_is_the_hash_of_what_travels():
    message = plain_message("t", b"compressed")
    assert sha256_of_data(message, b"content") == hashlib.sha256(b"compressed").digest()
    assert sha256_of_data(message, None) == hashlib.sha256(b"compressed").digest()


def test_valid_and_invalid_data_never_share_an_id():
    message = plain_message("t", b"same")
    assert LEAN(message, b"same") != LEAN(message, None)


def test_the_length_of_the_topic_keeps_topic_and_data_apart():
    assert LEAN(plain_message("ab", b"c"), b"c") != LEAN(plain_message("a", b"bc"), b"bc")


def test_the_length_of_the_topic_counts_bytes():
    topic, data = "ü", b"data"
    expected = hashlib.sha256(b"\1\0\0\0" + b"\2\0\0\0\0\0\0\0" + topic.encode() + data).digest()[:20]
    assert LEAN(plain_message(topic, data), data) == expected


@pytest.mark.parametrize("size_bytes", [8, 20, 32])
def test_an_id_has_the_size_it_should(size_bytes: int):
    function = DomainSeparatedHash(valid_domain=b"v", invalid_domain=b"i", size_bytes=size_bytes)
    assert len(function(plain_message("t", b"d"), b"d")) == size_bytes


@vector_cases("gossip_message_id")
def test_vectors_of_message_ids(case: VectorCase):
    codec = case["codec"]
    data = unhex(codec["data"])
    message = plain_message(unhex(codec["topic"]).decode(), data)
    content = data if unhex(codec["domain"]) == LEAN.valid_domain else None

    assert LEAN(message, content) == unhex(case["output"]["messageId"])


@vector_cases("message_id_divergence")
def test_vectors_of_ids_that_clients_disagree_on(case: VectorCase):
    message: Message = plain_message(case["topic"], unhex(case["compressed"]))
    content = unhex(case["ssz"])

    assert LEAN(message, content) == unhex(case["spec"])
    assert ZIG(message, content) == unhex(case["zig_libp2p_0_2_90"])
