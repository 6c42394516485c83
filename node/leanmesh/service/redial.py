"""Configured peers: dialed again for ever, with back-off."""

import logging
from typing import TYPE_CHECKING

import trio

from leanmesh.errors import LocalError, RemoteError
from leanmesh.service.params import ServiceParams
from leanmesh.service.pauses import Pauses
from leanmesh.transport.errors import DialToSelf
from leanmesh.transport.switch import Switch
from leanmesh.wire.multiaddr import Multiaddr

if TYPE_CHECKING:
    from random import Random

LOGGER = logging.getLogger(__name__)

# Each pause is up to this part longer or shorter, so that nodes that fell together do not return together.
JITTER = 0.25


async def redial_forever(
    switch: Switch, address: Multiaddr, params: ServiceParams, generator: "Random"
) -> None:
    """Keep a connection to one peer.  Returns only when the address turns out to be our own.

    Pauses grow from `redial_first_s` to `redial_limit_s`, and begin anew after a
    connection that lived for `redial_stable_after_s`.
    """
    pauses = Pauses(params.redial_first_s, params.redial_limit_s, params.redial_stable_after_s)
    is_told = False
    while True:
        lived_s = None
        try:
            connection = await switch.dial(address, ignore_backoff=True)
        except DialToSelf:
            LOGGER.info("%s is our own address and not dialed", address)
            return
        except (RemoteError, LocalError) as error:
            # Said once and then quietly: a peer that is down for a day is one line, not thousands.
            LOGGER.log(logging.DEBUG if is_told else logging.WARNING, "%s; dialing again", error)
            is_told = True
        else:
            is_told = False
            connected_s = trio.current_time()
            await connection.wait_closed()
            lived_s = trio.current_time() - connected_s
        await trio.sleep(pauses.next_s(lived_s) * generator.uniform(1 - JITTER, 1 + JITTER))
