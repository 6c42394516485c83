"""Pages: the bytes that one scrape is given, in either format, whole or in part, plain or gzipped.

A page is the snapshot, encoded once, and after it the report: the few
families about the snapshot itself (its age, what went wrong since), which are
true at the moment of the scrape and not of the refresh.  The gzip stream of the
snapshot is kept, too; a scrape adds the report to it as one more deflate family.
"""

import enum
import struct
import zlib
from collections.abc import Sequence

import attrs
import trio

from leanmesh.metrics.snapshot import EncodedFamily, Snapshot

# Fixed bytes: deflate, no name, no time of modification, so that equal pages have equal bytes.
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
# The page repeats itself so much that level 6 takes three times as long to save a seventh.
GZIP_LEVEL = 1
EOF = b"# EOF\n"


class PageFormat(enum.Enum):
    """The two exposition formats, each with its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    @property
    def content_type(self) -> str:
        """The value of the Content-Type header."""
        return self.value

    def join(self, families: Sequence[EncodedFamily]) -> bytes:
        """The families in this format."""
        if self is PageFormat.TEXT:
            return b"".join(family.text for family in families)
        return b"".join(family.openmetrics for family in families)

    @property
    def end(self) -> bytes:
        """What ends a page."""
        return EOF if self is PageFormat.OPENMETRICS else b""


@attrs.frozen
class Page:
    """One answer to one scrape.  `body` is gzipped when `is_gzipped`."""

    body: bytes
    format: PageFormat
    is_gzipped: bool
    generation: int

    @property
    def content_type(self) -> str:
        """The value of the Content-Type header."""
        return self.format.content_type


@attrs.frozen
class Deflated:
    """A gzip stream that can still be added to: whole deflate blocks, none of them the last."""

    stream: bytes
    checksum: int
    size_bytes: int

    @classmethod
    def of(cls, body: bytes) -> "Deflated":
        """Compress a body.  Takes milliseconds for 10,000 series: call it in a thread."""
        compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        stream = compressor.compress(body) + compressor.flush(zlib.Z_FULL_FLUSH)
        return cls(stream, zlib.crc32(body), len(body))

    def ended_with(self, tail: bytes) -> bytes:
        """The complete gzip file of the body followed by `tail`."""
        compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        last = compressor.compress(tail) + compressor.flush()
        trailer = struct.pack(
            "<II", zlib.crc32(tail, self.checksum), (self.size_bytes + len(tail)) & 0xFFFF_FFFF
        )
        return b"".join((GZIP_HEAD, self.stream, last, trailer))


@attrs.define(eq=False)
class Pages:
    """The pages of one snapshot.  Each format is encoded once and compressed once, when first asked for."""

    snapshot: Snapshot
    _deflated: dict[PageFormat, Deflated] = attrs.field(factory=dict[PageFormat, Deflated], init=False)
    # Held while a thread compresses, so that scrapes at the same moment share the result.
    _lock: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    def body(self, page_format: PageFormat) -> bytes:
        """The whole snapshot in one format, still without the report and the end."""
        return self.snapshot.text if page_format is PageFormat.TEXT else self.snapshot.openmetrics

    async def deflated(self, page_format: PageFormat) -> Deflated:
        """The same, compressed."""
        if page_format not in self._deflated:
            async with self._lock:
                if page_format not in self._deflated:
                    self._deflated[page_format] = await trio.to_thread.run_sync(
                        Deflated.of, self.body(page_format)
                    )
        return self._deflated[page_format]

    async def page(
        self, page_format: PageFormat, report: Sequence[EncodedFamily], *, is_gzipped: bool
    ) -> Page:
        """The whole page."""
        tail = page_format.join(report) + page_format.end
        if is_gzipped:
            body = (await self.deflated(page_format)).ended_with(tail)
        else:
            body = self.body(page_format) + tail
        return Page(body, page_format, is_gzipped, self.snapshot.generation)


async def partial_page(
    families: Sequence[EncodedFamily], page_format: PageFormat, *, is_gzipped: bool, generation: int
) -> Page:
    """A page of some families only.  Rarely asked for, so nothing of it is kept."""
    body = page_format.join(families) + page_format.end
    if is_gzipped:
        deflated = await trio.to_thread.run_sync(Deflated.of, body)
        body = deflated.ended_with(b"")
    return Page(body, page_format, is_gzipped, generation)
