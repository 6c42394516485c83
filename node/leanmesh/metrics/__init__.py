"""Counts: the catalog, the cells, the snapshot and its encoding."""
