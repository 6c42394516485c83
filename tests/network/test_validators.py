"""Validators of applications: their verdicts hold, and what goes wrong in them harms nobody."""

import threading

import pytest
import trio
from leanmesh.errors import LocalError
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.validation import Verdict
from leanmesh.service.params import ServiceParams
from network.nodes import TOPIC, Nodes, check_books, collect


class Validator:
    """Judges by what a message says.  Every way of going wrong is a word."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def judge(self, message) -> object:
        self.seen.append(message.data)
        word = message.data.split()[0]
        if word == b"raise":
            raise ValueError("a bug of the application")
        answers = {b"reject": Verdict.REJECT, b"ignore": Verdict.IGNORE, b"false": False, b"none": None}
        return answers.get(word, True)

    async def judge_later(self, message) -> object:
        await trio.sleep(0.1)
        word = message.data.split()[0]
        if word == b"hang":
            await trio.sleep_forever()
        if word == b"cancel":
            with trio.CancelScope() as scope:
                scope.cancel()
                await trio.sleep_forever()
        if word == b"group":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._raise)
        return self.judge(message)

    async def _raise(self) -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("a bug in a task of the application")


async def line(nodes: Nodes) -> None:
    """Three nodes in a line: what 1 says reaches 3 through 2 alone, which judges it."""
    await nodes.start(1)
    await nodes.start(2, dials=(1,))
    await nodes.start(3, dials=(2,))
    await nodes[2].wait_for_mesh(TOPIC, 2, 5)


def count(node, name: str) -> object:
    return node.metric(f"gossipsub_{name}_messages_total", "0", TOPIC)


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_verdicts_decide_who_gets_a_message(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery, kind: str
):
    await line(nodes)
    validator = Validator()
    nodes[2].add_validator(TOPIC, validator.judge if kind == "plain" else validator.judge_later)
    here, beyond = await collect(nursery, nodes[2]), await collect(nursery, nodes[3])

    for word in (b"accept", b"reject", b"ignore", b"false", b"accept too"):
        await nodes[1].publish(TOPIC, word)
        await trio.sleep(0.5)

    assert here.data == beyond.data == [b"accept", b"accept too"]
    await nodes[2].refresh_metrics()
    assert (count(nodes[2], "accepted"), count(nodes[2], "rejected"), count(nodes[2], "ignored")) == (2, 2, 1)
    (account,) = [info.misbehaviour for info in nodes[2].peers() if info.peer == nodes.peer(1)]
    assert sum(account.values()) == 2


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_validator_that_raises_is_counted_and_its_message_ignored(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery, kind: str
):
    await line(nodes)
    validator = Validator()
    validate = validator.judge if kind == "plain" else validator.judge_later
    name = f"validator:{validate.__qualname__}"
    nodes[2].add_validator(TOPIC, validate)
    inbox = await collect(nursery, nodes[3])

    words = [b"raise", b"none"] + ([b"cancel", b"group"] if kind == "async" else [])
    for word in (*words, b"fine"):
        await nodes[1].publish(TOPIC, word)
        await trio.sleep(0.5)

    # A validator that was cancelled by itself went on and accepted.
    assert inbox.data == [word for word in (*words, b"fine") if word in (b"cancel", b"fine")]
    failures = len(words) - (b"cancel" in words)
    assert nodes[2].contained.counts == {name: failures}
    await nodes[2].refresh_metrics()
    assert count(nodes[2], "ignored") == failures
    assert nodes[2].metric("leanmesh_contained_errors_total", name) == failures
    # Nobody is blamed for a bug of ours.
    assert [info.misbehaviour for info in nodes[2].peers()] == [{}, {}]
    nodes[2].contained.counts.clear()


async def test_a_validator_that_hangs_loses_its_message_and_nothing_else(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    nodes.gossip = GossipParams(validation_timeout_s=3.0)
    nodes.service = ServiceParams(validator_tasks_limit=2)
    await line(nodes)
    nodes[2].add_validator(TOPIC, Validator().judge_later)
    inbox = await collect(nursery, nodes[3])

    for number in range(2):
        await nodes[1].publish(TOPIC, b"hang %d" % number)
    await trio.sleep(0.5)
    # Both places are taken: this one waits for its turn, and for longer than its time.
    await nodes[1].publish(TOPIC, b"too late")
    await trio.sleep(4)
    await nodes[1].publish(TOPIC, b"in time")
    await trio.sleep(1)

    assert inbox.data[-1] == b"in time"
    await nodes[2].refresh_metrics()
    assert count(nodes[2], "ignored") + count(nodes[2], "accepted") == 4
    assert count(nodes[2], "ignored") >= 2
    assert len(nodes[2].mesh(TOPIC)) == 2


async def test_more_messages_than_may_wait_for_verdicts_are_throttled_and_the_books_close(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    nodes.gossip = GossipParams(validation_topic_limit=10, validation_timeout_s=5.0)
    await line(nodes)
    nodes[2].add_validator(TOPIC, Validator().judge_later)
    inbox = await collect(nursery, nodes[3])

    for number in range(100):
        await nodes[1].publish(TOPIC, b"message %d" % number)
    await trio.sleep(5)

    await nodes[2].refresh_metrics()
    throttled = nodes[2].metric("leanmesh_messages_total", "inbound", "throttled")
    # Half of ten: a peer may hold no more than is left for the others.
    assert (throttled, len(inbox.data)) == (95, 5)


async def test_a_stop_in_the_middle_of_verdicts_leaves_no_task_and_closes_the_books(
    autojump_clock, nodes: Nodes
):
    await line(nodes)
    nodes[2].add_validator(TOPIC, Validator().judge_later)
    for number in range(20):
        await nodes[1].publish(TOPIC, b"hang %d" % number)
    await trio.sleep(0.5)

    stopping_s = trio.current_time()
    await nodes.stop(2)
    assert trio.current_time() - stopping_s < 1.0


async def test_messages_that_waited_when_the_network_stopped_are_ignored_and_counted(
    autojump_clock, nodes: Nodes
):
    await line(nodes)
    node = nodes[2]
    node.add_validator(TOPIC, Validator().judge_later)
    for number in range(20):
        await nodes[1].publish(TOPIC, b"hang %d" % number)
    await trio.sleep(0.5)

    params = node.network().params
    await node.stop_network(0)
    await check_books(node)
    assert count(node, "ignored") == 20
    await node.start_network(params)
    node.add_validator(TOPIC, Validator().judge)
    await node.wait_for_mesh(TOPIC, 1, 10)
    await nodes[1].publish(TOPIC, b"fine")
    await trio.sleep(1)
    await check_books(node)
    assert count(node, "accepted") == 1


async def test_a_topic_has_one_validator_and_it_can_be_taken_away(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await line(nodes)
    validator = Validator()
    nodes[2].add_validator(TOPIC, validator.judge)
    with pytest.raises(LocalError, match="compose two into one"):
        nodes[2].add_validator(TOPIC, validator.judge_later)
    with pytest.raises(LocalError, match="in_thread is for plain functions"):
        nodes[2].add_validator("other", validator.judge_later, in_thread=True)
    inbox = await collect(nursery, nodes[3])

    nodes[2].network().accept_all(TOPIC)
    await nodes[1].publish(TOPIC, b"reject, if anybody asked")
    assert await inbox.wait_for(1) == [b"reject, if anybody asked"]
    assert validator.seen == []


async def test_a_validator_in_a_thread_does_not_stop_the_loop(real_nodes: Nodes, nursery: trio.Nursery):
    nodes = real_nodes
    nodes.gossip = GossipParams(validation_timeout_s=1.0)
    await line(nodes)
    release = threading.Event()
    threads: set[int] = set()

    def slow(message) -> bool:
        threads.add(threading.get_ident())
        if message.data == b"hang":
            release.wait(30)
        if message.data == b"raise":
            raise ValueError("a bug of the application")
        return message.data != b"reject"

    nodes[2].add_validator(TOPIC, slow, in_thread=True)
    inbox = await collect(nursery, nodes[3])
    for word in (b"hang", b"raise", b"reject", b"fine"):
        await nodes[1].publish(TOPIC, word)
    try:
        assert await inbox.wait_for(1) == [b"fine"]
        # The one that hangs is abandoned, and its message with it, while its thread still runs.
        with trio.fail_after(10):
            while True:
                await nodes[2].refresh_metrics()
                if count(nodes[2], "ignored") == 2:
                    break
                await trio.sleep(0.05)
    finally:
        release.set()
    assert threading.get_ident() not in threads
    assert sum(nodes[2].contained.counts.values()) == 1
    nodes[2].contained.counts.clear()


async def test_a_validator_that_was_there_before_the_topic_was_taken_judges_its_first_message(
    autojump_clock, nodes: Nodes, nursery: trio.Nursery
):
    await nodes.start(1)
    await nodes.start(2, dials=(1,), topics=())
    nodes[2].add_validator(TOPIC, Validator().judge)
    inbox = await collect(nursery, nodes[2])
    await nodes[2].wait_for_mesh(TOPIC, 1, 5)
    await nodes[1].publish(TOPIC, b"reject this")
    await nodes[1].publish(TOPIC, b"take this")
    assert await inbox.wait_for(1) == [b"take this"]
    await nodes[2].refresh_metrics()
    assert (count(nodes[2], "rejected"), count(nodes[2], "accepted")) == (1, 1)
