"""A devnet with churn, watched for a long time: `just soak [--duration SECONDS]`.

Exit code 1 when a check fails.  A peer is restarted every five seconds while
messages flow and a scraper reads the page.  Checked are: memory, objects and
descriptors are flat; every message reaches everyone who was there all the time;
the books close at rest; nothing went wrong that no counter tells.
"""

import argparse
import sys

import trio
from checks import judge
from watch import Soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--duration", type=float, default=600.0, help="seconds (default 600)")
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--rate", type=float, default=50.0, help="messages per second, in all")
    parser.add_argument("--restart-every", type=float, default=5.0, help="seconds between two restarts")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    soak = Soak(
        duration_s=options.duration,
        nodes=options.nodes,
        rate_per_s=options.rate,
        restart_every_s=options.restart_every,
        seed=options.seed,
    )
    trio.run(soak.run)
    checks = judge(soak)
    width = max(len(check.what) for check in checks)
    for check in checks:
        print(f"{'ok    ' if check.holds else 'FAILED'}  {check.what.ljust(width)}  {check.found}")
    return 0 if all(check.holds for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
