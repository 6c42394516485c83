"""Joins connections, the gossip core and the metrics into a node."""
