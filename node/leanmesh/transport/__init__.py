"""Moves bytes on Trio: dial, listen, connections, streams."""
