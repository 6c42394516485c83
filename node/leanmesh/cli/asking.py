"""Asking a running node over its HTTP API."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from leanmesh.cli.output import say
from leanmesh.errors import RemoteError

DEFAULT_API = "http://127.0.0.1:9470"
TIMEOUT_S = 10.0
# A thousand peers with all their topics fit twice.
ANSWER_LIMIT_BYTES = 16 * 1024 * 1024
# Without the proxy of the environment, which is for the world and not for this machine.
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(api: str, path: str) -> dict[str, Any]:
    """One answer of a node's API.  RemoteError, with a way out, when there is none."""
    url = api.rstrip("/") + path
    if not url.startswith(("http://", "https://")):
        raise RemoteError(f"{api} is no URL of an API; it begins like {DEFAULT_API}")
    try:
        with DIRECTLY.open(url, timeout=TIMEOUT_S) as answer:
            body = answer.read(ANSWER_LIMIT_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise RemoteError(f"{url} answered {error.code} {error.reason}") from error
    except http.client.InvalidURL as error:
        raise RemoteError(f"{api} is no URL of an API: {error}; it begins like {DEFAULT_API}") from error
    except http.client.HTTPException as error:
        raise _no_node(url) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise RemoteError(
            f"no node answers at {api}: {reason}; is `leanmesh run` or `leanmesh devnet` running, "
            "and is its metrics address the one given with --api?"
        ) from error
    try:
        facts = cast(object, json.loads(body))
    except (ValueError, RecursionError) as error:
        raise _no_node(url) from error
    if not isinstance(facts, dict):
        raise _no_node(url)
    with shaped(url):
        answer = cast("dict[str, Any]", facts)
        for missing in answer.get("unanswered", ()):
            say(f"not all of it: {missing['reason']}")
    return answer


@contextmanager
def shaped(url: str) -> Generator[None]:
    """Read an answer: RemoteError when it is JSON, but not what a node says."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _no_node(url) from error


def _no_node(url: str) -> RemoteError:
    return RemoteError(f"{url} did not answer as a leanmesh node does; is one listening there?")
