"""JSON lines on standard output, and what is gathered for --report summary."""

import json
import sys


def emit(event: str, **fields: object) -> None:
    """Write one line, and see it out."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


class Summary:
    """Totals since the start, latencies since the last line."""

    def __init__(self) -> None:
        self.received = 0
        self.bytes = 0
        self.published = 0
        self.latencies_ms: list[float] = []

    def add(self, size: int, latency_ms: float | None) -> None:
        """Count one message."""
        self.received += 1
        self.bytes += size
        if latency_ms is not None:
            self.latencies_ms.append(latency_ms)

    def emit(self) -> None:
        """Write the line; `dropped` is null, as the library keeps no account of what it drops."""
        ordered, self.latencies_ms = sorted(self.latencies_ms), []
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        latency_ms = {
            name: ordered[int(share * (len(ordered) - 1))] for name, share in shares.items() if ordered
        }
        emit(
            "summary",
            received=self.received,
            bytes=self.bytes,
            published=self.published,
            dropped=None,
            **({"latency_ms": latency_ms} if ordered else {}),
        )
