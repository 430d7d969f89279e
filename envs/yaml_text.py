"""Reading and writing YAML and JSON that people write: recipes, descriptions, task files.

Stricter than YAML 1.1: a key stands once, no anchor holds itself, and no value is read as what its writer hardly meant
(010 as 8, 1:30 as 90). `1e-3` is a number here, and a date is text.
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$")
_OCTAL = re.compile(r"[-+]?0[0-7_]+$")
_EXPONENT = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
_STRING, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_SAID = {
    "found character '\\t' that cannot start any token": "a tab begins the line; YAML indents by spaces",
    "expected the node content, but found '<stream end>'": "something is opened and never closed",
    "mapping values are not allowed here": "a colon stands where none can; put text that holds ': ' in quotes",
    "but found another document": "a second document begins; a file holds one",
}


class TextError(ValueError):
    """A text is not YAML or JSON as it is read here; the message is a phrase that says where."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with numbers like 1e-3, and dates as text."""


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would read as a number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith("timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def load_yaml(text: str | bytes) -> Any:
    """The data in a YAML text, or in a file's bytes; None if it is empty.

    Raises:
        TextError: it is not YAML, or says something twice or ambiguously.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise TextError(f"line {line} is not text in UTF-8; save the file in that encoding") from error
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check(node, set(), set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except TextError:
        raise
    except RecursionError:
        raise TextError("it is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        raise TextError(_phrase(error)) from None
    except yaml.reader.ReaderError as error:
        raise TextError(f"it holds the character U+{int(error.character):04X}, which no text has") from None
    except (yaml.YAMLError, ValueError) as error:
        raise TextError(" ".join(str(error).split())[:200]) from None


def dump_yaml(data: Any, *, flow: bool = False) -> str:
    """YAML that `load_yaml` reads as the same data; `flow` writes a mapping in one line, without its braces."""
    if flow:
        return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=True, width=10**6).strip()[1:-1]
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False)


def load_json(text: str) -> Any:
    """The data in a JSON text.

    Raises:
        TextError: it is not JSON, or an object has a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except _TwiceError as error:
        try:
            load_yaml(text)  # JSON is YAML, which knows the lines
        except TextError as in_yaml:
            raise in_yaml from None
        raise TextError(str(error)) from None
    except json.JSONDecodeError as error:
        raise TextError(f"line {error.lineno}, column {error.colno}: {error.msg[:1].lower()}{error.msg[1:]}") from None
    except RecursionError:
        raise TextError("it is nested too deeply") from None


class _TwiceError(TextError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(f"the key {key} is given twice; keep one")
        found[key] = value
    return found


def _check(node: yaml.Node, above: set[int], whole: set[int]) -> None:
    """Raise TextError for a node that holds itself, a key that stands twice or is no word, an ambiguous number."""
    if id(node) in above:
        raise TextError(f"line {_line(node)}: an anchor holds itself, so it never ends; write the values out")
    if id(node) in whole:
        return
    if isinstance(node, yaml.ScalarNode):
        _check_number(node)
    elif isinstance(node, yaml.MappingNode):
        _check_keys(node)
    children = [one for pair in node.value for one in pair] if isinstance(node, yaml.MappingNode) else node.value
    if isinstance(node, yaml.CollectionNode):
        for child in children:
            _check(child, above | {id(node)}, whole)
    whole.add(id(node))


def _check_keys(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in (_STRING, _MERGE):
            name = key.value if isinstance(key, yaml.ScalarNode) else "[...]"
            raise TextError(f"line {_line(key)}: the key {name} is not a word; put it in quotes if it is meant so")
        if key.value in lines:
            raise TextError(
                f"the key {key.value} is given twice, in lines {lines[key.value]} and {_line(key)}; keep one"
            )
        lines[key.value] = _line(key)


def _check_number(node: yaml.ScalarNode) -> None:
    if node.style is not None or node.tag.rpartition(":")[2] not in ("int", "float"):
        return
    if _SEXAGESIMAL.match(node.value):
        raise TextError(
            f"line {_line(node)}: YAML reads {node.value} to the base of 60; put it in quotes or write it out"
        )
    if _OCTAL.match(node.value):
        raise TextError(
            f"line {_line(node)}: YAML reads {node.value} to the base of 8; write it without the zero in front"
        )


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _phrase(error: yaml.MarkedYAMLError) -> str:
    """Line, column and problem, in words."""
    problem = error.problem or error.context or "it cannot be read"
    for theirs, ours in _SAID.items():
        if theirs in problem:
            problem = ours
    if "could not determine a constructor for the tag" in problem:
        problem = f"the tag {problem.split(chr(39))[1]} is not read here; write plain values"
    problem = problem.replace("'<stream end>'", "the end of the text")
    mark = error.problem_mark or error.context_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem
