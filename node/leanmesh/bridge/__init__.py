"""The one place that knows asyncio: sinks whose libraries need it.  What must run there ends in `_aio`."""
