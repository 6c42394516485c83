"""What a network's router starts from: the one place that makes one, to run it or to repeat its run."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import attrs
from attrs.validators import in_

from leanmesh.gossip.intake import Deliver
from leanmesh.gossip.message_id import author_and_seqno, sha256_of_data
from leanmesh.gossip.observer import NO_OBSERVER, Observer
from leanmesh.gossip.params import GossipParams
from leanmesh.gossip.router import Router
from leanmesh.gossip.rules import TopicRules
from leanmesh.gossip.signing import SignaturePolicy, Signer, SigningKey
from leanmesh.service.params import NetworkParams

if TYPE_CHECKING:
    from random import Random


@attrs.frozen(kw_only=True)
class RouterFacts:
    """Settings and start of one router, as values."""

    gossip: GossipParams
    signing: Literal["strict", "none"] = attrs.field(validator=in_(("strict", "none")))
    message_id: Literal["auto", "default", "sha256"] = attrs.field(
        validator=in_(("auto", "default", "sha256"))
    )
    started_s: float
    first_seqno: int

    @classmethod
    def of(
        cls, params: NetworkParams, gossip: GossipParams, started_s: float, first_seqno: int
    ) -> "RouterFacts":
        """Those of one network that starts now."""
        return cls(
            gossip=gossip,
            signing=params.signing,
            message_id=params.message_id,
            started_s=started_s,
            first_seqno=first_seqno,
        )

    def router(
        self,
        key: SigningKey,
        generator: "Random",
        is_validated: Callable[[str], bool],
        deliver: Deliver,
        observer: Observer = NO_OBSERVER,
    ) -> Router:
        """A router that starts from here.  `is_validated` is asked for a topic when its rules are."""
        is_signed = self.signing == "strict"
        is_hashed = self.message_id == "sha256" or not is_signed
        # Asked for with every message to a topic that is not taken: made once.
        rules = TopicRules(message_id=sha256_of_data if is_hashed else author_and_seqno)
        validated = attrs.evolve(rules, is_validated=True)
        return Router(
            key.peer_id,
            self.gossip,
            generator,
            now_s=self.started_s,
            deliver=deliver,
            observer=observer,
            policy=SignaturePolicy.STRICT_SIGN if is_signed else SignaturePolicy.STRICT_NO_SIGN,
            signer=Signer(key) if is_signed else None,
            first_seqno=self.first_seqno,
            rules=lambda topic: validated if is_validated(topic) else rules,
        )
