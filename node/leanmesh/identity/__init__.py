"""Who a peer is: keys, peer ids, signatures, signed records, the key file."""
