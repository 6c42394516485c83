"""Serves the snapshot over HTTP."""
