"""Commands that ask a node, and an API that answers them as a test says."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from click.testing import CliRunner, Result
from leanmesh.cli.main import root


@contextmanager
def node_that_answers(pages: dict[str, object]) -> Iterator[str]:
    """An API with these pages."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(pages[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def ask(pages: dict[str, object], *arguments: str) -> Result:
    with node_that_answers(pages) as api:
        return CliRunner(env={"COLUMNS": "120"}).invoke(root, [*arguments, "--api", api])


def rows(result: Result) -> list[list[str]]:
    """The cells of the lines of tables."""
    assert result.exit_code == 0, result.output
    return [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in result.output.splitlines()
        if line.startswith("│")
    ]
