# Recipes of the house.  `just` alone lists them.

python := env("LEANMESH_PYTHON", ".venv/bin/python")

[private]
default:
    @just --list

# Makes .venv with everything development needs
setup:
    python3 -m venv .venv
    .venv/bin/pip install -e '.[dev]'

# Writes the versions that CI installs from those that are installed here
lock:
    {{python}} -m pip freeze --all --exclude leanmesh --exclude pip --exclude-editable > .ci/constraints.txt

# Lints and type-checks
check:
    {{python}} -m ruff check .
    {{python}} -m ruff format --check .
    {{python}} -m pyright --pythonpath {{python}}

# Mends what the linter can mend
fix:
    {{python}} -m ruff check --fix .
    {{python}} -m ruff format .

# Runs the tests
test *ARGS:
    {{python}} -m pytest {{ARGS}}

# Runs the tests of a minute and more, which the others leave out
test-long *ARGS:
    {{python}} -m pytest -m long {{ARGS}}

# Generates *_pb2.py and *_pb2.pyi next to their .proto files
proto:
    for schema in $(find node/leanmesh -name '*.proto'); do \
        {{python}} -m grpc_tools.protoc -I node --python_out=node --pyi_out=node $schema || exit 1; done

# Writes the catalog of metrics, the numbers of the core and the settings into docs/
docs:
    {{python}} -m leanmesh.metrics.catalog_doc docs/metrics.md
    {{python}} -m leanmesh.gossip.params_doc docs/gossip.md
    {{python}} -m leanmesh.settings_doc docs/operations.md

# Builds the peers that others wrote into the user's cache: all, or those named (go, js, py)
interop-build *LANGUAGES:
    {{python}} tests/interop/build.py {{LANGUAGES}}

# Builds them and runs every test that talks to them; none may skip
interop *ARGS: interop-build
    LEANMESH_INTEROP=require {{python}} -m pytest -m interop {{ARGS}}

# Runs a node with the default settings
run *ARGS:
    {{python}} -m leanmesh run {{ARGS}}

# Tests the C core under sanitizers
test-c:
    tests/ffi/run

# Feeds hostile bytes to every decoder: ten minutes in all, or LEANMESH_FUZZ_S seconds for each
fuzz *ARGS:
    {{python}} tests/fuzz/run.py {{ARGS}}

# Measures: prints a table for each benchmark
bench *NAMES:
    {{python}} tests/bench {{NAMES}}

# Runs a devnet with churn for ten minutes, or --duration SECONDS, and watches its memory
soak *ARGS:
    {{python}} tests/soak {{ARGS}}

# Runs a network of nodes in one process
devnet *ARGS:
    {{python}} -m leanmesh devnet {{ARGS}}
