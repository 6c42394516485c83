"""Decides.  A pure state machine: no I/O, clock, dice or tasks of its own."""
