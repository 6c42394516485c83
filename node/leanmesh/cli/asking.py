"""Asking a running node over its HTTP API."""

import json
import urllib.error
import urllib.request
from typing import Any

from leanmesh.cli.output import say
from leanmesh.errors import RemoteError

DEFAULT_API = "http://127.0.0.1:9470"
TIMEOUT_S = 10.0
# A thousand peers with all their topics fit twice.
ANSWER_LIMIT_BYTES = 16 * 1024 * 1024


def ask(api: str, path: str) -> dict[str, Any]:
    """One answer of a node's API.  RemoteError, with a way out, when there is none."""
    url = api.rstrip("/") + path
    if not url.startswith(("http://", "https://")):
        raise RemoteError(f"{api} is no URL of an API; it begins like {DEFAULT_API}")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            body = answer.read(ANSWER_LIMIT_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise RemoteError(f"{url} answered {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise RemoteError(
            f"no node answers at {api}: {reason}; is `leanmesh run` or `leanmesh devnet` running, "
            "and is its metrics address the one given with --api?"
        ) from error
    try:
        facts: dict[str, Any] = json.loads(body)
    except ValueError as error:
        raise RemoteError(f"{url} did not answer with JSON; is a leanmesh node listening there?") from error
    for missing in facts.get("unanswered", ()):
        say(f"not all of it: {missing['reason']}")
    return facts
