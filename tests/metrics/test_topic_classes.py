"""Topic classes are bounded, and are what the settings say."""

import pytest
from leanmesh.metrics.params import CollectorParams
from leanmesh.metrics.topic_classes import TopicClasses


def test_a_topic_is_a_class_of_its_own_while_there_is_room():
    classes = TopicClasses(CollectorParams(topic_class_limit=2))
    assert [classes.of(topic) for topic in ("a", "b", "c", "a", "d", "b")] == [
        "a",
        "b",
        "other",
        "a",
        "other",
        "b",
    ]


def test_patterns_put_topics_together_and_the_first_that_fits_wins():
    patterns = ("attestation=*/attestation_*", "block=*/block/*", "lean=/lean/*")
    classes = TopicClasses(CollectorParams(topic_classes=patterns))
    topics = (
        "/lean/1/attestation_7/ssz",
        "/lean/1/attestation_8/ssz",
        "/lean/1/block/ssz",
        "/lean/x",
        "news",
    )
    assert [classes.of(topic) for topic in topics] == ["attestation", "attestation", "block", "lean", "news"]


@pytest.mark.parametrize("limit", [1, 3])
def test_a_function_of_the_application_is_bounded_too(limit):
    classes = TopicClasses(CollectorParams(topic_class_limit=limit), classify=str.upper)
    found = {classes.of(f"topic {number}") for number in range(10_000)}
    assert found == {f"TOPIC {number}" for number in range(limit)} | {"other"}
    assert len(classes._by_topic) <= 4096
