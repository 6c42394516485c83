"""`python -m leanmesh` is the `leanmesh` command."""

from leanmesh.cli.main import main

if __name__ == "__main__":
    main()
