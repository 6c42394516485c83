"""Forks workers that count as fast as they can, until somebody kills them.

Run as a program: worker_forker.py SOCKET.  Each message carries two descriptors, an empty memfd for the
cells and one with a word for acknowledgements, and as text the number of a network and the pause between
two rounds in seconds.  The answer is the pid of the new worker.  A message without descriptors names a worker
to be killed; the answer comes when it has been waited for.
"""

import mmap
import os
import random
import signal
import socket
import sys
import time

from leanmesh.metrics.cells import Cells
from leanmesh.metrics.family import CounterSpec, GaugeSpec, HistogramSpec

EVENTS = CounterSpec("test_events_total", "Events.")
BY_NETWORK = CounterSpec("test_network_events_total", "Events by network.", labels=("network_id",))
BY_PEER = CounterSpec("test_peer_events_total", "Events by peer; peers come and go.", labels=("peer",))
LAG = HistogramSpec("test_lag_seconds", "Lag.", bounds=(0.1, 0.2, 0.3), resolution=0.1)
ALIVE = GaugeSpec("test_alive", "Workers that live.")
LIVES = GaugeSpec("test_life", "One series for each life.", labels=("life",))

PEERS = 5


def count_for_ever(descriptor: int, acknowledgements: int, network_id: int, pause_s: float) -> None:
    cells = Cells.in_memfd(descriptor, capacity=512)
    generator = random.Random(os.getpid())
    acknowledged = memoryview(mmap.mmap(acknowledgements, 8)).cast("Q")
    words = cells.words
    events, by_network = cells.counter(EVENTS), cells.counter(BY_NETWORK, str(network_id))
    lag = cells.histogram(LAG)
    cells.signed_words[cells.gauge(ALIVE)] = 1
    cells.signed_words[cells.gauge(LIVES, str(os.getpid()))] = 1
    slot = cells.networks.start(network_id)
    while True:
        for value in (1, 2, 3, 4):
            words[events] += 1
            words[by_network] += 1
            lag.observe(value)
        peer = f"peer-{generator.randrange(PEERS)}"
        words[cells.counter(BY_PEER, peer)] += 1
        if generator.random() < 0.1:
            cells.release(BY_PEER, peer)
        cells.networks.store(slot, 4)
        cells.copy()
        cells.beat()
        acknowledged[0] += 4
        time.sleep(pause_s)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 100, 2)
        if not message:
            return
        if not descriptors:
            pid = int(message)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            control.sendall(b"gone")
            continue
        network_id, pause_s = message.decode().split()
        pid = os.fork()
        if pid == 0:
            try:
                count_for_ever(*descriptors, int(network_id), float(pause_s))
            finally:
                os._exit(1)
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(str(pid).encode())


if __name__ == "__main__":
    main()
