"""What a worker is sent: its own networks and their sinks, and of everything else the same."""

import json

import attrs
from leanmesh.bridge.params import NatsParams
from leanmesh.gossip.params import GossipParams
from leanmesh.service.params import NetworkParams, WorkerParams
from leanmesh.settings import CONVERTER, Settings
from leanmesh.workers import settings_for

NETWORKS = tuple(NetworkParams(network_id=number, topics=(f"topic {number}",)) for number in (4, 5, 6))


def sent(settings: Settings, *networks: NetworkParams) -> Settings:
    """What a worker makes of the JSON that it is sent."""
    return CONVERTER.structure(json.loads(json.dumps(settings_for(settings, networks))), Settings)


def test_a_worker_gets_every_setting_but_the_other_networks():
    settings = Settings(network=NETWORKS, gossip=GossipParams(mesh_target=7), workers=WorkerParams(count=2))
    expected = attrs.evolve(settings, network=NETWORKS[1:2], workers=WorkerParams())
    assert sent(settings, NETWORKS[1]) == expected


def test_a_sink_lies_where_its_network_lies_and_without_one_where_the_first_lies():
    sinks = (NatsParams(name="any"), NatsParams(name="six", network_id=6))
    settings = Settings(network=NETWORKS, nats=sinks, workers=WorkerParams(count=3))
    names = [[sink.name for sink in sent(settings, network).nats] for network in NETWORKS]
    assert names == [["any"], [], ["six"]]
