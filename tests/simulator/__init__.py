"""Many routers on a fake wire: virtual time, one seed, no Trio."""
