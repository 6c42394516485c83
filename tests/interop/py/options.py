"""The command line of tests/interop/README.md."""

import argparse

from payload import HEADER_BYTES


def parse() -> argparse.Namespace:
    """Read it; argparse ends the program with code 2 where it is wrong."""
    parser = argparse.ArgumentParser(prog="py-libp2p peer")
    for name in ("listen", "peer", "topic"):
        parser.add_argument(f"--{name}", action="append", default=[])
    for name, choices in {
        "signing": ("strict", "none"),
        "id": ("default", "library", "sha256", "lean", "zig"),
        "timing": ("libp2p", "lean"),
        "transport": ("tcp", "quic"),
        "key-type": ("ed25519", "secp256k1"),
        "report": ("messages", "summary"),
    }.items():
        parser.add_argument(f"--{name}", choices=choices, default=choices[0])
    for name in ("hold", "subscribe-only", "publish-only", "ping", "echo"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--publish-rate", type=float, help="per second and topic; 0: as fast as it goes")
    parser.add_argument("--count", type=int, help="messages per topic; 0: without end")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--upload", type=int, default=0)
    parser.add_argument("--download", type=int, default=0)
    options = parser.parse_args()
    if options.size < HEADER_BYTES:
        parser.error(f"--size must be at least {HEADER_BYTES}, the header of a payload")
    is_quic = options.transport == "quic"
    options.listen = options.listen or ["/ip4/127.0.0.1/udp/0/quic-v1" if is_quic else "/ip4/127.0.0.1/tcp/0"]
    options.publishes = not options.subscribe_only and (
        options.publish_rate is not None or options.count is not None
    )
    options.is_snappy = options.id in ("lean", "zig")
    return options
