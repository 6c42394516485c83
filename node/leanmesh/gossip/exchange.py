"""Talk about messages: IHAVE and IWANT fill gaps, IDONTWANT spares copies."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TypeVar

import attrs

from leanmesh.gossip.history import History
from leanmesh.gossip.observer import Misbehaviour, Table
from leanmesh.gossip.oldest import make_room
from leanmesh.gossip.outbox import Drop, Priority
from leanmesh.gossip.promises import Promises
from leanmesh.gossip.rpc import IHave
from leanmesh.gossip.seen import SeenIds
from leanmesh.gossip.state import PeerState, State, Topic
from leanmesh.identity.peer_id import PeerId

Value = TypeVar("Value")


@attrs.define(eq=False)
class Exchange:
    """The rules of gossip, and whom we told IDONTWANT."""

    state: State
    seen: SeenIds
    history: History
    promises: Promises
    # Whom we told IDONTWANT about a message, and the heartbeat that forgets it, the oldest first.
    told: dict[bytes, tuple[int, list[PeerId]]] = attrs.field(factory=dict[bytes, tuple[int, list[PeerId]]])
    # The last of these: messages that the same peers were told of share one, and are as many as there are.
    _last_told: tuple[int, list[PeerId]] = attrs.field(factory=lambda: (0, list[PeerId]()), init=False)
    # Large messages of this pass, by topic, that the meshes have not been told of yet.
    large: defaultdict[str, list[bytes]] = attrs.field(factory=lambda: defaultdict[str, list[bytes]](list))
    # Ids first seen until the last heartbeat, to tell a busy network from a flood of IDONTWANT.
    seen_before: int = 0

    # What peers say.

    def on_ihave(self, peer: PeerState, advertised: Sequence[IHave], now_s: float) -> None:
        """Ask for what we have not seen of the topics we take, within the peer's budget."""
        params = self.state.params
        for have in advertised:
            self.state.observer.ihave_received(peer.peer, have.topic, have.message_ids, now_s)
        if peer.score < params.gossip_threshold or not peer.is_gossiping:
            return
        peer.ihave_heard += 1
        if peer.ihave_heard > params.ihave_messages_limit:
            # Honest peers split one heartbeat's gossip into some RPCs more; a flood goes on.
            if peer.ihave_heard % params.ihave_messages_limit == 0:
                self.state.misbehaved(peer, Misbehaviour.IHAVE_FLOOD, now_s)
            return
        unseen = self._unseen(advertised)
        budget = params.ihave_ids_limit - peer.iwant_asked
        if not unseen or budget <= 0:
            return
        wanted = list(unseen)
        if len(wanted) > budget:
            wanted = self.state.generator.sample(wanted, budget)
        wanted = peer.outbox.iwant(wanted)
        if not wanted:
            return
        peer.iwant_asked += len(wanted)
        watched = self.state.generator.choice(wanted)
        self._expect(peer, watched, unseen[watched], now_s)
        self.state.observer.iwant_sent(peer.peer, wanted, now_s)

    def on_iwant(self, peer: PeerState, wanted: Sequence[bytes], now_s: float) -> None:
        """Send what a peer asks for, as far as we have it and the peer's budgets go."""
        params = self.state.params
        self.state.observer.iwant_received(peer.peer, wanted, now_s)
        if peer.score < params.gossip_threshold or not peer.is_gossiping:
            return
        for message_id in dict.fromkeys(wanted):
            if peer.iwant_unknown >= params.iwant_unknown_limit:
                self.state.misbehaved(peer, Misbehaviour.IWANT_UNSOLICITED, now_s)
                return
            if peer.iwant_answered >= params.ihave_ids_limit:
                self.state.misbehaved(peer, Misbehaviour.IWANT_FLOOD, now_s)
                return
            if message_id in peer.unwanted:
                continue
            self._serve(peer, message_id, now_s)

    def on_idontwant(self, peer: PeerState, unwanted: Sequence[bytes], now_s: float) -> None:
        """Send no copy of these: neither later nor of what is queued already."""
        params = self.state.params
        self.state.observer.idontwant_received(peer.peer, unwanted, now_s)
        until = self.state.tick + params.idontwant_ttl_ticks
        evicted = withdrawn = 0
        for message_id in unwanted:
            # Renewed at the end, so that the oldest stay first.
            peer.unwanted.pop(message_id, None)
            if len(peer.unwanted) >= params.idontwant_ids_limit:
                evicted += make_room(peer.unwanted, params.idontwant_ids_limit)
            peer.unwanted[message_id] = until
            withdrawn += peer.outbox.withdraw(message_id)
        if withdrawn:
            self.state.observer.copies_dropped(peer.peer, Drop.WITHDRAWN, withdrawn, now_s)
        if evicted:
            self.state.observer.turned_away(Table.UNWANTED, evicted, now_s)
        peer.idontwant_heard += len(unwanted)
        # On a busy network honest peers name every message; a flood names what nobody has seen.
        if peer.idontwant_heard > params.idontwant_ids_limit + 2 * (self.seen.added - self.seen_before):
            self.state.misbehaved(peer, Misbehaviour.IDONTWANT_FLOOD, now_s)

    # What we say.

    def remember(self, message_id: bytes, now_s: float) -> None:
        """Mark an id as seen; count what the bound of the table cost."""
        if evicted := self.seen.add(message_id, now_s):
            self.state.observer.turned_away(Table.SEEN, evicted, now_s)

    def tell_asked(self, topic: Topic, message_id: bytes, asked: Sequence[PeerId], now_s: float) -> None:
        """Tell the peers outside the mesh that we asked for a large message that it is here."""
        told = [
            peer_id
            for peer_id in asked
            if peer_id not in topic.mesh and self.state.peers[peer_id].outbox.idontwant((message_id,))
        ]
        if told:
            self.told[message_id] = (self.state.tick + self.state.params.idontwant_ttl_ticks, told)
            self.state.observer.idontwant_sent(told, topic.name, message_id, now_s)

    def tell_large(self, source: PeerState | None, now_s: float) -> None:
        """Tell the meshes which large messages need not be sent to us any more.

        Once per pass: control leaves an outbox before the messages that were queued with it.  `source`
        is whom they came from: None when we made them, which unsigned messages do not show.  Whom our
        own copy tells as much is told by that.
        """
        for name, message_ids in self.large.items():
            told: list[PeerId] = []
            for peer_id, peer in self.state.topics[name].mesh.items():
                if peer is source:
                    continue
                untold = peer.outbox.untold(message_ids)
                said = peer.outbox.idontwant(untold) if untold else untold
                if not said:
                    continue
                if len(said) == len(message_ids):
                    told.append(peer_id)
                else:
                    self._remember_told([peer_id], name, said, now_s)
            if told:
                self._remember_told(told, name, message_ids, now_s)
        self.large.clear()

    def _remember_told(
        self, told: list[PeerId], name: str, message_ids: Sequence[bytes], now_s: float
    ) -> None:
        until = self.state.tick + self.state.params.idontwant_ttl_ticks
        told_before = self.told
        idontwant_sent = self.state.observer.idontwant_sent
        if (entry := self._last_told) != (until, told):
            entry = self._last_told = (until, told)
        for message_id in message_ids:
            before = told_before.get(message_id)
            told_before[message_id] = entry if before is None else (until, before[1] + told)
            idontwant_sent(told, name, message_id, now_s)

    def keep_promises(self, source: PeerState, message_id: bytes, now_s: float) -> list[PeerId]:
        """A message came, from whomever: ask nobody any more.  Answers who else was asked for it."""
        asked: list[PeerId] = []
        for peer_id in self.promises.fulfil(message_id):
            self.state.observer.promise_kept(peer_id, now_s)
            # A question that still waits was never asked; it is not put to who sent the message either.
            if not self.state.peers[peer_id].outbox.cancel_iwant(message_id) and peer_id != source.peer:
                asked.append(peer_id)
        return asked

    def advertise(self, now_s: float) -> None:
        """Tell some peers outside the meshes which messages we have."""
        params = self.state.params
        told: dict[PeerId, list[tuple[str, list[bytes]]]] = {}
        for topic in self.state.topics.values():
            if not topic.is_joined and not topic.fanout:
                continue
            candidates = self._listeners(topic)
            ids = self.history.advertised(topic.name) if candidates else []
            if not ids:
                continue
            count = max(params.gossip_peers, int(params.gossip_factor * len(candidates)))
            for peer in self.state.sample(candidates, count):
                told.setdefault(peer.peer, []).append((topic.name, ids))
        for peer_id, lists in told.items():
            self._advertise_to(self.state.peers[peer_id], lists, now_s)

    # The heartbeat.

    def charge_broken_promises(self, now_s: float) -> None:
        """Peers that did not send what they advertised."""
        for peer_id, message_ids in self.promises.take_broken(now_s).items():
            peer = self.state.peers[peer_id]
            # A question that still waits was never asked: the peer owes nothing, and need not be asked now.
            broken = [id_ for id_ in message_ids if not peer.outbox.cancel_iwant(id_)]
            for _ in broken:
                self.state.observer.promise_broken(peer_id, now_s)
            if broken:
                self.state.misbehaved(peer, Misbehaviour.BROKEN_PROMISE, now_s, len(broken))

    def renew_budgets(self) -> None:
        """A heartbeat has passed: every peer may ask and advertise anew, and old IDONTWANT are forgotten."""
        tick = self.state.tick
        for peer in self.state.peers.values():
            peer.ihave_heard = peer.iwant_asked = peer.iwant_answered = peer.iwant_unknown = 0
            peer.idontwant_heard = peer.subscriptions_heard = 0
            if peer.unwanted:
                _forget_due(peer.unwanted, lambda until: until <= tick)
        _forget_due(self.told, lambda entry: entry[0] <= tick)
        self.seen_before = self.seen.added

    def _listeners(self, topic: Topic) -> list[PeerState]:
        threshold = self.state.params.gossip_threshold
        return [
            peer
            for peer_id, peer in topic.peers.items()
            if peer.is_gossiping
            and not peer.is_direct
            and peer.score >= threshold
            and peer_id not in topic.mesh
            and peer_id not in topic.fanout
        ]

    def _advertise_to(self, peer: PeerState, lists: list[tuple[str, list[bytes]]], now_s: float) -> None:
        """Share what a peer hears per heartbeat among its topics; what a quiet one leaves, the others get."""
        left = min(self.state.params.ihave_ids_limit, peer.outbox.limits.ihave_ids)
        lists.sort(key=lambda each: len(each[1]))
        for position, (name, ids) in enumerate(lists):
            share = left // (len(lists) - position)
            if len(ids) > share:
                peer.outbox.control_drops.ihave += len(ids) - share
                # Some in a row: drawing thousands one by one would hold up the loop.
                start = self.state.generator.randrange(len(ids))
                ids = ids[start : start + share] + ids[: max(0, start + share - len(ids))]
            left -= len(ids)
            if said := peer.outbox.ihave(name, ids):
                self.state.observer.ihave_sent(peer.peer, name, ids[:said], now_s)

    def _unseen(self, advertised: Sequence[IHave]) -> dict[bytes, str]:
        """What we have not seen of the topics we take, and of which it is."""
        seen, topics = self.seen.first_seen_s, self.state.topics
        wanted: dict[bytes, str] = {}
        for have in advertised:
            topic = topics.get(have.topic)
            if topic is not None and topic.is_joined:
                wanted.update((id_, topic.name) for id_ in have.message_ids if id_ not in seen)
        return wanted

    def _expect(self, peer: PeerState, message_id: bytes, topic: str, now_s: float) -> None:
        turned_away = self.promises.turned_away
        self.promises.add(peer.peer, message_id, topic, now_s + self.state.params.iwant_followup_s)
        if self.promises.turned_away != turned_away:
            self.state.observer.turned_away(Table.PROMISES, 1, now_s)

    def _serve(self, peer: PeerState, message_id: bytes, now_s: float) -> None:
        if message_id not in self.history.messages:
            peer.iwant_unknown += 1
            return
        if peer.outbox.holds(message_id):
            # One copy is under way; asking for it is work, and no second one.
            peer.iwant_answered += 1
            return
        kept = self.history.serve(message_id, peer.peer, self.state.params.retransmission_limit)
        if kept is None:
            self.state.misbehaved(peer, Misbehaviour.IWANT_FLOOD, now_s)
            return
        topic, field = kept
        peer.iwant_answered += 1
        drop = peer.outbox.put(message_id, field, now_s, Priority.ANSWER)
        if drop is not None:
            # It was not sent: the peer may ask again.
            self.history.unserve(message_id, peer.peer)
            self.state.observer.copies_dropped(peer.peer, drop, 1, now_s)
            return
        self.state.observer.served(peer.peer, topic, message_id, len(field), now_s)


def _forget_due(table: dict[bytes, Value], is_due: Callable[[Value], bool]) -> None:
    """Drop the entries that are due, up to the first that is not."""
    for message_id in [
        message_id for message_id, _ in takewhile(lambda item: is_due(item[1]), table.items())
    ]:
        del table[message_id]
