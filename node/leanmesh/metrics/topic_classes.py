"""Topic classes: a bounded set of label values for topics, so that work can be told apart by them."""

from collections.abc import Callable
from fnmatch import fnmatchcase

import attrs

from leanmesh.metrics.family import OTHER
from leanmesh.metrics.params import CollectorParams

# The class of work that is about no topic.
NO_TOPIC = "none"

# Topics whose class is kept; that of further ones is found each time anew.
TOPICS_KEPT = 4096


@attrs.define(eq=False)
class TopicClasses:
    """Which class a topic is in: by the patterns of the settings, or a class of its own while there is room.

    `classify` replaces both: it answers the class of a topic, and the bound holds for it too.
    """

    params: CollectorParams
    classify: Callable[[str], str] | None = None
    _classes: dict[str, None] = attrs.field(factory=dict[str, None], init=False)
    _by_topic: dict[str, str] = attrs.field(factory=dict[str, str], init=False)
    _patterns: tuple[tuple[str, str], ...] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._patterns = self.params.topic_patterns

    def of(self, topic: str) -> str:
        """The class of a topic of ours: one that we take or publish to, never a name that a peer made up."""
        known = self._by_topic.get(topic)
        if known is not None:
            return known
        found = self._bounded(self._find(topic))
        if len(self._by_topic) < TOPICS_KEPT:
            self._by_topic[topic] = found
        return found

    def _find(self, topic: str) -> str:
        if self.classify is not None:
            return self.classify(topic)
        for name, pattern in self._patterns:
            if fnmatchcase(topic, pattern):
                return name
        return topic

    def _bounded(self, name: str) -> str:
        if name in self._classes:
            return name
        if len(self._classes) >= self.params.topic_class_limit:
            return OTHER
        self._classes[name] = None
        return name
