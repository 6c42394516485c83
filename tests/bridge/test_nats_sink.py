"""What a node delivers stands in a JetStream, and in it once."""

import time

import trio
from bridge.reader import read_all
from leanmesh.bridge.params import NatsParams
from leanmesh.run import open_node
from leanmesh.service.params import NetworkParams
from leanmesh.settings import Settings
from nats_server import NatsServer

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
TOPIC = "/eth/12.ab/block"


async def test_what_is_delivered_stands_in_the_stream_with_its_origin(server: NatsServer):
    began_s = time.time()
    publishing = Settings(network=(NetworkParams(listen=LOOPBACK, topics=(TOPIC,), signing="none"),))
    async with open_node(publishing) as publisher:
        address = str(publisher.network().listen_addresses[0])
        carrying = Settings(
            network=(NetworkParams(listen=LOOPBACK, topics=(TOPIC,), peers=(address,), signing="none"),),
            nats=(NatsParams(url=server.url, create_stream=True),),
        )
        async with open_node(carrying) as node:
            await publisher.wait_for_mesh(TOPIC, 1, 10)
            receipts = [await publisher.publish(TOPIC, b"%d" % number) for number in range(10)]
            with trio.fail_after(10):
                stored = await read_all(server.url, 10)
            await node.refresh_metrics()
            assert node.metric("leanmesh_sink_messages_total", "nats", "acked") == 10
            assert node.metric("leanmesh_sink_balance", "nats") == 0
            assert node.metric("leanmesh_sink_connected", "nats") == 1
        peer = str(publisher.network().key.peer_id)
    assert [message.data for message in stored] == [b"%d" % number for number in range(10)]
    assert [message.headers["Nats-Msg-Id"] for message in stored] == [
        receipt.message_id.hex() for receipt in receipts
    ]
    assert {message.subject for message in stored} == {"leanmesh.eth.12%2Eab.block"}
    for message in stored:
        assert message.headers["Leanmesh-Topic"] == TOPIC
        assert message.headers["Leanmesh-Peer"] == peer
        assert began_s <= float(message.headers["Leanmesh-Received-At"]) <= time.time()
