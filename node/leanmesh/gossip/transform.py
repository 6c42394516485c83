"""The transform between what travels in a message and what the application sees, such as compression."""

from typing import Protocol


class Transform(Protocol):
    """Runs once per message, before its id is computed."""

    def compress(self, data: bytes) -> bytes:
        """What travels, of what the application publishes."""
        ...

    def decompress(self, data: bytes, limit_bytes: int) -> bytes | None:
        """What the application sees, of what came; None when it is invalid or larger than the limit.

        The limit must hold before the result is made: a few bytes may claim gigabytes.
        """
        ...


class NoTransform:
    """What travels is what the application sees."""

    def compress(self, data: bytes) -> bytes:
        """The same bytes."""
        return data

    def decompress(self, data: bytes, limit_bytes: int) -> bytes | None:
        """The same bytes, or None when they are more than the limit."""
        return data if len(data) <= limit_bytes else None
