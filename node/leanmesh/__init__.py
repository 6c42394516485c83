"""A gossipsub peer node on Trio.  This file holds the public names and nothing else."""
