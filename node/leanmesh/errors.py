"""The two kinds of failure: whose fault it is decides what ends.

Every error that leanmesh raises on purpose derives from one of these two.
Anything else that escapes is a bug of ours and ends the network loudly.
"""


class NodeError(Exception):
    """The common base, for callers that only want to report."""


class LocalError(NodeError):
    """We asked for something that cannot be: a bad setting, a closed service, one network too many."""


class RemoteError(NodeError):
    """A peer broke the protocol or went away.  Its connection ends; the node does not."""
