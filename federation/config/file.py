"""Reading the configuration file, and saying precisely what is wrong with it.

In: a path. Out: an `AgentConfig`, or a `ConfigFileError` that lists every problem as
`file:line: key: what is wrong; what to do`. Lines come from the YAML nodes: pydantic's location of
an error (keys and list indexes) is walked down the node tree as far as the file goes.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from federation.config.agent import AgentConfig, config_schema
from federation.config.compute import ComputeKind
from federation.config.values import shown
from vnode.kube.types import JSON

_Location: TypeAlias = tuple[str | int, ...]
_KEY_MARK = "[key]"  # pydantic's last element for a mapping key that is wrong itself
_KINDS = tuple(kind.value for kind in ComputeKind)
_EXAMPLE = "start from config/example.yaml"


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing that is wrong in a configuration file."""

    file: str
    """As it was given."""
    line: int | None
    """Counted from 1; None where no line can be named."""
    key: str
    """Path of the key, like `clusters[1].name`; empty for the document as a whole."""
    text: str
    """What is wrong and what to do."""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}: {self.text}" if self.key else f"{place}: {self.text}"


class ConfigFileError(Exception):
    """The configuration file cannot be used; its text has one line per problem."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def load_config(path: Path) -> AgentConfig:
    """Read and check a configuration file. Relative paths in it start at its folder.

    Raises:
        ConfigFileError: it cannot be read, is no YAML, or does not follow the schema.
    """
    file = str(path)
    root, data = _parse(file, _read(path))
    try:
        return AgentConfig.model_validate(
            data, context={"folder": path.absolute().parent}, by_alias=True, by_name=False
        )
    except ValidationError as error:
        problems = [_problem(file, root, details) for details in _causes(error)]
        problems.sort(key=lambda problem: problem.line or 0)
        raise ConfigFileError(problems) from None


def _fail(file: str, text: str, *, line: int | None = None, key: str = "") -> ConfigFileError:
    return ConfigFileError([ConfigProblem(file=file, line=line, key=key, text=text)])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _fail(str(path), "no such file; check the path, or " + _EXAMPLE) from None
    except UnicodeDecodeError:
        raise _fail(str(path), "is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        text = f"cannot be read ({error.strerror}); check its type and permissions"
        raise _fail(str(path), text) from None


def _parse(file: str, text: str) -> tuple[yaml.Node, JSON]:
    loader = yaml.CSafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise _fail(file, f"is empty; {_EXAMPLE}")
        if duplicate := next(_duplicate_keys(root, ()), None):
            line, location = duplicate
            raise _fail(file, "is given twice; remove one", line=line, key=_dotted(location))
        data: JSON = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or "cannot be understood"
        text = f"is not valid YAML ({reason}); check indentation, quotes and colons"
        raise _fail(file, text, line=mark.line + 1 if mark else None) from None
    except (yaml.YAMLError, ValueError) as error:
        raise _fail(file, f"is not valid YAML ({_first_line(error)})") from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise _fail(file, f"holds {shown(data)} instead of a mapping; {_EXAMPLE}", line=1)
    return root, data


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _duplicate_keys(node: yaml.Node, at: _Location) -> Iterator[tuple[int, _Location]]:
    """YAML readers keep the last of two equal keys silently; here that is a mistake."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _duplicate_keys(item, (*at, index))
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                yield key.start_mark.line + 1, (*at, key.value)
            seen.add(key.value)
            yield from _duplicate_keys(value, (*at, key.value))


def _causes(error: ValidationError) -> Iterator[ErrorDetails]:
    """Errors without their consequence: a list of wrong items also counts as one without items."""
    for details in error.errors():
        if details["type"] != "too_short" or not details["input"]:
            yield details


def _problem(file: str, root: yaml.Node, details: ErrorDetails) -> ConfigProblem:
    location = details["loc"]
    if location and location[-1] == _KEY_MARK:
        location = location[:-1]
    location = _without_kind(location)
    if details["type"] == "union_tag_invalid":
        location = (*location, "kind")
    return ConfigProblem(
        file=file, line=_line(root, location), key=_dotted(location), text=_text(details)
    )


def _without_kind(location: _Location) -> _Location:
    """pydantic names the kind of a cluster behind its place: clusters, 0, eci, region."""
    if location[:1] == ("clusters",) and location[2:3] and location[2] in _KINDS:
        return (*location[:2], *location[3:])
    return location


def _line(root: yaml.Node, location: _Location) -> int | None:
    """Line of the deepest part of `location` that stands in the file."""
    node, line = root, None
    for step in location:
        found: tuple[yaml.Node, yaml.Node] | None = None
        if isinstance(node, yaml.MappingNode):
            found = next(
                ((key, value) for key, value in node.value if key.value == str(step)), None
            )
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            found = (node.value[step], node.value[step]) if step < len(node.value) else None
        if found is None:
            break
        node, line = found[1], found[0].start_mark.line + 1
    return line


def _dotted(location: _Location) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "".join(steps).removeprefix(".")


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "model_type": "a mapping (key: value)",
    "mapping_type": "a mapping (key: value)",
    "dict_type": "a mapping (key: value)",
    "tuple_type": "a list (- item)",
    "path_type": "a path",
}


_BOUNDS = {
    "greater_than_equal": ("ge", "too small; at least"),
    "less_than_equal": ("le", "too large; at most"),
    "greater_than": ("gt", "too small; more than"),
}


def _text(details: ErrorDetails) -> str:
    """What is wrong and what to do, for one error of pydantic."""
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    if wanted := _WANTED.get(kind):
        if value is None:
            return f"has no value; give {wanted}"
        quotes = "; put it in quotes" if kind in ("string_type", "path_type") else ""
        return f"{shown(value)} is not {wanted}{quotes}"
    if bound := _BOUNDS.get(kind):
        key, text = bound
        return f"{shown(value)} is {text} {context[key]:g}"
    match kind:
        case "misfit" | "value_error":
            return str(context.get("text", context.get("error")))
        case "missing":
            return "is missing; add it"
        case "extra_forbidden":
            return _unknown_key(details["loc"])
        case "enum":
            choices = re.findall(r"'([^']*)'", str(context["expected"]))
            return f"{shown(value)} is not one of: {', '.join(choices)}"
        case "too_short":
            return f"is empty; at least {context['min_length']} entry is needed"
        case "union_tag_invalid":
            return f"{shown(value['kind'])} is not one of: {', '.join(_KINDS)}"
        case "literal_error":
            return f"{shown(value)} is not {context['expected']}"
        case _:
            return details["msg"]


def _unknown_key(location: _Location) -> str:
    *parents, key = location
    known = _known_keys(parents)
    if len(parents) > 2 and parents[2] in _KINDS:
        others = [kind for kind in _KINDS if kind != parents[2]]
        if any(key in _known_keys([*parents[:2], kind, *parents[3:]]) for kind in others):
            return f"means nothing in a cluster of kind {parents[2]}; remove it"
    if close := difflib.get_close_matches(str(key), known, n=1):
        return f'unknown key; did you mean "{close[0]}"?'
    return f"unknown key; known here: {', '.join(known)}"


def _known_keys(parents: Sequence[str | int]) -> list[str]:
    """Keys that the schema has at a location, in its order."""
    document = config_schema()
    schema: JSON = document
    for step in [*parents, None]:
        if isinstance(schema, dict) and "oneOf" in schema and step in _KINDS:
            schema = _of_kind(document, schema, str(step))
            continue
        schema = _resolve(document, schema)
        if step is None:
            break
        if isinstance(step, int):
            schema = schema.get("items", {})
        else:
            properties = schema.get("properties")
            schema = properties.get(str(step), {}) if isinstance(properties, dict) else {}
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return list(properties) if isinstance(properties, dict) else []


def _of_kind(document: Mapping[str, JSON], schema: Mapping[str, JSON], kind: str) -> JSON:
    """The form of a cluster of that kind, of all forms."""
    forms = schema["oneOf"]
    for form in forms if isinstance(forms, list) else ():
        properties = _resolve(document, form).get("properties")
        if isinstance(properties, dict) and kind in str(properties.get("kind")):
            return form
    return None


def _resolve(document: Mapping[str, JSON], schema: JSON) -> dict[str, JSON]:
    """Follow `$ref`, and the first branch of an optional value."""
    while isinstance(schema, dict):
        branches = schema.get("anyOf")
        reference = schema.get("$ref")
        if isinstance(branches, list) and branches:
            schema = branches[0]
        elif isinstance(reference, str):
            definitions = document["$defs"]
            name = reference.rpartition("/")[2]
            schema = definitions.get(name) if isinstance(definitions, dict) else None
        else:
            return schema
    return {}
