"""Sans-IO protocols of the connection: bytes in, events and bytes out."""
