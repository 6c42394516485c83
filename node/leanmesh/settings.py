"""The settings of a node: a TOML file, then the environment, then flags, each over the one before.

Every layer states its own numbers in its `params.py`; here they are only put
together.  Adding a layer is one line in `Settings`.  A mistake never stops at
the first: all that is wrong with a set of settings is said at once, each with
where it was written, the key, the value and what would be right.
"""

import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

import attrs
import cattrs
import cattrs.errors

from leanmesh.bridge.params import NatsParams
from leanmesh.errors import LocalError
from leanmesh.gossip.params import GossipParams
from leanmesh.metrics.params import CollectorParams, LagParams, MetricsParams
from leanmesh.service.params import NetworkParams, RecordParams, ServiceParams, TraceParams, WorkerParams
from leanmesh.transport.params import TransportParams
from leanmesh.web.params import WebParams

ENVIRONMENT_PREFIX = "LEANMESH_"
DEFAULT = "default"
SECRET_WORDS = ("secret", "password", "token", "private_key")
# What stands in a url before its host: all up to the last @, for a secret may hold any character.
_USER_OF_URL = re.compile(r"^([\w+.-]*://)?.*@", re.DOTALL)
# Between the urls of a list; other commas may be a secret's.
_NEXT_URL = re.compile(r",(?=\s*[\w+.-]+://)")


@attrs.frozen(kw_only=True)
class Settings:
    """One frozen object per layer.  The TOML file has a table for each, and [[network]] for each network.

    The numbers of `gossip` and `transport` hold for every network.
    """

    network: tuple[NetworkParams, ...] = (NetworkParams(),)
    gossip: GossipParams = attrs.field(factory=GossipParams)
    transport: TransportParams = attrs.field(factory=TransportParams)
    metrics: MetricsParams = attrs.field(factory=MetricsParams)
    collector: CollectorParams = attrs.field(factory=CollectorParams)
    lag: LagParams = attrs.field(factory=LagParams)
    trace: TraceParams = attrs.field(factory=TraceParams)
    record: RecordParams = attrs.field(factory=RecordParams)
    service: ServiceParams = attrs.field(factory=ServiceParams)
    web: WebParams = attrs.field(factory=WebParams)
    workers: WorkerParams = attrs.field(factory=WorkerParams)
    nats: tuple[NatsParams, ...] = ()

    def __attrs_post_init__(self) -> None:
        ids = [network.network_id for network in self.network]
        for sink in self.nats:
            if sink.network_id is not None and sink.network_id not in ids:
                raise LocalError(
                    f"the sink {sink.name!r} carries network {sink.network_id}, which is not here: {ids}"
                )
        if len({sink.name for sink in self.nats}) < len(self.nats):
            raise LocalError(f"each sink needs a name of its own: {[sink.name for sink in self.nats]}")
        if len(set(ids)) < len(ids):
            raise LocalError(f"each network needs a network_id of its own; these are {ids}")
        if self.workers.count > len(ids):
            raise LocalError(
                f"{self.workers.count} workers (--workers, workers.count) are more than there are networks "
                f"({len(ids)}): each network runs whole in one worker"
            )


@attrs.frozen
class Given:
    """A value somebody wrote, and where.  Texts come from the environment and from flags."""

    value: object
    origin: str
    is_text: bool = False


@attrs.frozen
class Loaded:
    """The settings, and for each dotted key that was set where its value came from."""

    settings: Settings
    origins: Mapping[str, str]

    def effective(self) -> str:
        """Every setting as TOML, each with its origin; secrets are hidden."""
        return "\n".join(_toml_lines(self.settings, "", self.origins))


class SettingsError(LocalError):
    """What is wrong with the settings, one line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def load(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, tuple[str, object]] | None = None,
) -> Loaded:
    """Read settings.  `flags` maps a dotted key to the flag's name and its value.

    Raises SettingsError with every mistake found.
    """
    problems: list[str] = []
    given: dict[str, Given] = {}
    if path is not None:
        _collect(Settings, _read_file(path), str(path), "", given, problems)
    _collect_environment(environment or {}, given, problems)
    for key, (flag, value) in (flags or {}).items():
        given[key] = Given(value, flag, is_text=isinstance(value, str))
    settings = _build(Settings, "", given, problems)
    if problems:
        raise SettingsError(problems)
    return Loaded(cast(Settings, settings), {key: item.origin for key, item in given.items()})


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SettingsError([f"{path}: line {line}: not UTF-8; TOML files are"]) from error
    except (ValueError, RecursionError) as error:
        # Not only of tomllib's own: Python refuses numbers of thousands of digits, and nests no deeper.
        raise SettingsError([f"{path}: no valid TOML: {error}"]) from error


def _fields(cls: type[Any]) -> dict[str, "attrs.Attribute[Any]"]:
    return {field.name: field for field in attrs.fields(attrs.resolve_types(cls))}


def _collect(
    cls: type,
    table: Mapping[str, Any],
    origin: str,
    prefix: str,
    given: dict[str, Given],
    problems: list[str],
) -> None:
    """Flatten one table into `given`, by the fields of its class."""
    fields = _fields(cls)
    for name, value in table.items():
        key = prefix + name
        field = fields.get(name)
        if field is None:
            problems.append(f"{origin}: {key}: {_unknown(name, fields, prefix)}")
        elif (item := _item_class(field.type)) is not None:
            _collect_items(item, value, origin, key, given, problems)
        elif not attrs.has(field.type or object):
            given[key] = Given(value, origin)
        elif isinstance(value, dict):
            nested = cast("dict[str, Any]", value)
            _collect(cast(type, field.type), nested, origin, f"{key}.", given, problems)
        else:
            problems.append(f"{origin}: {key} = {_shown(key, value)}: must be a table, [{key}]")


def _collect_items(
    cls: type, tables: object, origin: str, key: str, given: dict[str, Given], problems: list[str]
) -> None:
    """Flatten an array of tables: the second [[network]] is network.1."""
    items = cast("list[object]", tables) if isinstance(tables, list) else []
    if not items or not all(isinstance(item, dict) for item in items):
        problems.append(f"{origin}: {key}: must be one or more tables, each headed [[{key}]]")
        return
    for index, item in enumerate(items):
        # The table itself is given, or one without keys would not count.
        given[f"{key}.{index}"] = Given(item, origin)
        _collect(cls, cast("dict[str, Any]", item), origin, f"{key}.{index}.", given, problems)


def _item_class(kind: Any) -> type | None:
    """The class of an array's tables, None for every other type of field."""
    arguments = get_args(kind)
    return arguments[0] if get_origin(kind) is tuple and attrs.has(arguments[0]) else None


def class_of_tables(kind: Any) -> type | None:
    """The class behind a field that is a table or an array of tables, None for plain values."""
    return _item_class(kind) or (kind if attrs.has(kind or object) else None)


def shown_default(default: Any) -> str:
    """A default as TOML, for the reference."""
    value = default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]
    return "not set" if value is None else f"`{_toml_value(value)}`"


def _collect_environment(
    environment: Mapping[str, str], given: dict[str, Given], problems: list[str]
) -> None:
    """LEANMESH_WEB__LISTEN is web.listen.  Names without two underscores belong to tests and tools."""
    sections = _fields(Settings)
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        *parents, name = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if not parents:
            section, _, rest = name.partition("_")
            if section in sections:
                hint = f"{ENVIRONMENT_PREFIX}{_first_of(section, sections)}__{rest.upper() or 'KEY'}"
                problems.append(f"environment: {variable}: no such setting; did you mean {hint}?")
            continue
        cls: Any = Settings
        prefix = ""
        for part in [*parents, name]:
            if (item := _item_class(cls)) is not None and part.isascii() and part.isdigit():
                cls = item
                prefix += f"{int(part)}."
                continue
            fields = _fields(cls) if attrs.has(cls) else {}
            if item is not None:
                hint = f"{ENVIRONMENT_PREFIX}{_first_of(prefix[:-1], sections)}__{part.upper()}"
                problems.append(f"environment: {variable}: no such setting; did you mean {hint}?")
                break
            if part not in fields:
                problems.append(f"environment: {variable}: {_unknown(part, fields, prefix)}")
                break
            cls = fields[part].type
            prefix += f"{part}."
        else:
            if class_of_tables(cls) is not None:
                problems.append(
                    f"environment: {variable}: is a table; write {variable}__KEY for each of its settings"
                )
                continue
            given[prefix[:-1]] = Given(environment[variable], f"environment: {variable}", is_text=True)


def _first_of(section: str, sections: Mapping[str, "attrs.Attribute[Any]"]) -> str:
    """A section's part of a variable's name; of an array of tables, that of the first table."""
    return section.upper() if _item_class(sections[section].type) is None else f"{section.upper()}__0"


def _unknown(name: str, fields: Mapping[str, object], prefix: str) -> str:
    nearest = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(fields)}"
    return f"no such setting{f' in [{prefix[:-1]}]' if prefix else ''}; {hint}"


def _build(cls: type, prefix: str, given: Mapping[str, Given], problems: list[str]) -> object:
    """Make one object of `cls`, or None when something in its table is wrong."""
    values: dict[str, object] = {}
    nested: dict[str, object] = {}
    problems_before = len(problems)
    for name, field in _fields(cls).items():
        key = prefix + name
        if (item := _item_class(field.type)) is not None:
            indexes = {
                int(other[len(key) + 1 :].partition(".")[0]) for other in given if other.startswith(f"{key}.")
            }
            items = [_build(item, f"{key}.{index}.", given, problems) for index in sorted(indexes)]
            if items and None not in items:
                nested[name] = tuple(items)
        elif attrs.has(field.type or object):
            nested[name] = _build(cast(type, field.type), f"{key}.", given, problems)
        elif key in given:
            try:
                values[name] = _convert(given[key], field.type)
            except (ValueError, TypeError, OverflowError, RecursionError, cattrs.errors.CattrsError):
                problems.append(_problem(key, given[key], f"must be {_describe(field.type)}"))
    nested = {name: value for name, value in nested.items() if value is not None}
    problems.extend(_blame(cls, prefix, given, values, nested))
    return cls(**values, **nested) if len(problems) == problems_before else None


def _blame(
    cls: type,
    prefix: str,
    given: Mapping[str, Given],
    values: dict[str, object],
    nested: Mapping[str, object],
) -> Iterator[str]:
    """Say what a class refuses and which of the values are to blame, until the rest is accepted."""

    def refusal(chosen: Mapping[str, object]) -> str | None:
        try:
            cls(**chosen, **nested)
        except (ValueError, TypeError, LocalError) as error:
            text = str(error.args[0]) if error.args else type(error).__name__
            # Some classes end with all their numbers; the guilty ones are named anyway.
            return text.partition(f": {cls.__name__}(")[0]
        return None

    remaining = dict(values)
    while (reason := refusal(remaining)) is not None:
        without = {
            name: refusal({key: value for key, value in remaining.items() if key != name})
            for name in remaining
        }
        guilty = (
            [name for name, other in without.items() if other is None]
            or [name for name, other in without.items() if other != reason]
            or [name for name, value in remaining.items() if refusal({name: value}) == reason]
            or list(remaining)
        )
        if not guilty:
            yield f"[{prefix[:-1]}]: {reason}" if prefix else reason
            return
        yield "; ".join(_written(prefix + name, given[prefix + name]) for name in guilty) + f": {reason}"
        for name in guilty:
            del remaining[name]


def _problem(key: str, item: Given, message: str) -> str:
    return f"{_written(key, item)}: {message}"


def _written(key: str, item: Given) -> str:
    return f"{item.origin}: {key} = {_shown(key, item.value)}"


def _is_secret(key: str) -> bool:
    return any(word in key.rpartition(".")[2] for word in SECRET_WORDS)


def _shown(key: str, value: object) -> str:
    return "(hidden)" if _is_secret(key) else _toml_value(_without_users(key, value))


def _without_users(key: str, value: object) -> object:
    """A value without the secrets in its urls."""
    if isinstance(value, list | tuple):
        return [_without_users(key, item) for item in cast("list[object]", value)]
    text = str(value)
    if "@" not in text or not ("://" in text or key.endswith("url")):
        return value
    parts = (part.strip() for part in _NEXT_URL.split(text))
    return ",".join(_USER_OF_URL.sub(r"\1(hidden)@", part) for part in parts)


def _toml_value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case list() | tuple():
            return f"[{', '.join(_toml_value(item) for item in cast('list[object]', value))}]"
        case int() | float():
            return str(value)
        case _:
            return json.dumps(str(value), ensure_ascii=False)


def _toml_lines(layer: Any, prefix: str, origins: Mapping[str, str]) -> Iterator[str]:
    tables: list[tuple[str, object]] = []
    for name, field in _fields(cast("type[Any]", type(layer))).items():
        kind: Any = field.type
        key, value = prefix + name, getattr(layer, name)
        if attrs.has(value.__class__):
            tables.append((key, value))
        elif _item_class(kind) is not None:
            tables += [(f"{key}.{index}", item) for index, item in enumerate(value)]
        else:
            shown = f"{name} = {_shown(key, value)}" if value is not None else f"# {name} is not set"
            yield f"{shown}  # {origins.get(key, DEFAULT)}"
    for key, table in tables:
        name, _, index = key.rpartition(".")
        yield f"[[{name}]]" if index.isdigit() else f"[{key}]"
        yield from _toml_lines(table, f"{key}.", origins)


# Types: what a value may be, strictly.  TOML says 5 or "5"; which one was meant is not guessed.


def _strict(expected: type) -> Any:
    def structure(value: object, _: type) -> object:
        if type(value) is not expected:
            raise TypeError(expected.__name__)
        return value

    return structure


def _finite(value: object, _: type) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("float")
    return float(value)


def _whole(value: object, _: type) -> int:
    # As large as TOML promises to carry; what lies beyond is a slip, and no socket or clock takes it.
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise TypeError("int")
    return value


CONVERTER = cattrs.Converter(detailed_validation=False)
for simple_type in (str, bool):
    CONVERTER.register_structure_hook(simple_type, _strict(simple_type))
CONVERTER.register_structure_hook(int, _whole)
CONVERTER.register_structure_hook(float, _finite)


def _convert(item: Given, kind: Any) -> object:
    value = _parse_text(str(item.value), kind) if item.is_text else item.value
    if _is_sequence(_without_none(kind)) and not isinstance(value, list | tuple):
        raise TypeError("list")
    return CONVERTER.structure(value, kind)


def _parse_text(text: str, kind: Any) -> object:
    """A text from outside TOML: numbers and lists as in TOML, lists also with plain commas."""
    kind = _without_none(kind)
    if _is_sequence(kind) and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if _is_sequence(kind) or kind in {int, float, bool}:
        # Decoded whole: a text with a line break must not bring settings of its own.
        content = tomllib.loads(f"value = {text}")
        return content["value"] if len(content) == 1 else content
    return text


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in {Union, UnionType}:
        rest = [part for part in get_args(kind) if part is not NoneType]
        return rest[0] if len(rest) == 1 else kind
    return kind


def _is_sequence(kind: Any) -> bool:
    return get_origin(kind) in {tuple, list}


def _describe(kind: Any) -> str:
    """What a value must be, for an operator."""
    kind = _without_none(kind)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(_toml_value(choice) for choice in get_args(kind))}"
    if _is_sequence(kind):
        return f"a list, each {_describe(get_args(kind)[0])}"
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text in quotes"}
    return names.get(kind, f"a {getattr(kind, '__name__', kind)}, as a text in quotes")
