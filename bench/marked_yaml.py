"""YAML as plain data that knows its lines, so that every error can name file and line.

Scenarios are small files from people and pull requests, so the reader is strict: no duplicate keys, no merge keys, no
tags, and bounds on size and depth (an alias of an alias of an alias is otherwise a bomb).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from bench.errors import UsageError

Path = tuple[str | int, ...]
"""Where a value stands: ("load", "rate"), ("systems", 2)."""

BYTES_MAX = 1 << 20
VALUES_MAX = 10_000
DEPTH_MAX = 20

# Written text that YAML 1.1 gives tags of their own: "2026-11-22", "=", "<<".
_TEXT = {f"tag:yaml.org,2002:{kind}" for kind in ("timestamp", "value", "merge")}
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null")}


@dataclass
class Marked:
    """A document: its data, the line (from 1) of each key and value by path, and what is wrong with it so far."""

    where: str
    data: dict[str, Any]
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)  # (line, text)

    def line(self, path: Path) -> int:
        """The line of a path, or of the nearest part above it that is written in the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 1


def read(content: bytes, where: str) -> Marked:
    """The one mapping that ``content`` holds; raises UsageError that names ``where`` and the line."""
    if len(content) > BYTES_MAX:
        raise UsageError(f"{where}: {len(content):,} bytes; a scenario has at most {BYTES_MAX:,}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(f"{where}:{line}: not a text file in UTF-8; a scenario is YAML text") from error
    node = _composed(text, where)
    if node is None:
        raise UsageError(f"{where}: the file is empty; a scenario is a mapping with load:, payload:, topology: ...")
    if not isinstance(node, yaml.MappingNode):
        found = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        raise UsageError(f"{where}:{node.start_mark.line + 1}: {found}; a scenario is a mapping with load:, payload:, topology: ...")
    return _Converter(where).document(node)


def _composed(text: str, where: str) -> yaml.Node | None:
    try:
        # Not the C parser: it overflows the stack (and dies) where this one raises RecursionError.
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1 if isinstance(error.position, int) else 1
        raise UsageError(f"{where}:{line}: holds control characters, so this is not a text file; a scenario is YAML text") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise UsageError(f"{where}:{line}: not valid YAML: {_said(error)}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise UsageError(f"{where}: nested too deep; a scenario has at most {DEPTH_MAX} levels") from error


def _said(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "unreadable"
    if "tab" in problem or "'\\t'" in problem or "found character that cannot start any token" in problem:
        return f"{problem} (indent with spaces, not tabs)"
    return f"{problem} ({error.context})" if error.context else problem


class _Converter:
    """Nodes into plain data, with bounds."""

    def __init__(self, where: str) -> None:
        self._marked = Marked(where, {})
        self._left = VALUES_MAX
        self._scalars = yaml.SafeLoader("")

    def document(self, node: yaml.MappingNode) -> Marked:
        self._marked.data = self._mapping(node, ())
        return self._marked

    def _value(self, node: yaml.Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        self._left -= 1
        if self._left < 0 or len(path) > DEPTH_MAX:
            limit = f"{VALUES_MAX:,} values and {DEPTH_MAX} levels"
            raise UsageError(f"{self._marked.where}:{line}: too large once its aliases are expanded; a scenario has at most {limit}")
        self._marked.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, line)

    def _scalar(self, node: yaml.Node, line: int) -> Any:
        if node.tag not in _PLAIN:
            if node.tag not in _TEXT:
                self._marked.problems.append((line, f"the tag {node.tag} is not allowed in a scenario"))
            return node.value
        try:
            return self._scalars.construct_object(node)
        except ValueError:  # "0b" or an integer of thousands of digits
            return node.value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._marked.problems.append((line, "a key must be a single word"))
                continue
            key = str(key_node.value)
            if key_node.tag == "tag:yaml.org,2002:merge":
                self._marked.problems.append((line, "merge keys (<<) are not supported; write the values out"))
                continue
            if key in data:
                first = self._marked.lines[(*path, key)]
                self._marked.problems.append((line, f'"{key}" is given twice (first in line {first})'))
                continue
            self._marked.lines[(*path, key)] = line
            data[key] = self._value(value_node, (*path, key))
        return data
