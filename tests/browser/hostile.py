"""A results folder whose strings were written by an enemy: each string of every JSON, YAML and CSV file carries a payload.

``spoil(folder, change)`` rewrites a folder by any change of a string; it knows nothing of what the files mean, save which
strings are words of the format (a status, a verdict, a kind): changed too, such a folder would only be refused.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Change = Callable[[str], str]
"""Equal strings stay equal, so that what belongs together still does."""

MARK = "window.hostile=1"
# Ends of what a string may stand in (tag, attribute, comment, script, style, CDATA, Markdown, template, formula), then a way to run.
MARKUP = (
    f"</td></table></title></style></textarea></script><script>{MARK}</script><img src=x onerror={MARK}><svg onload={MARK}>"
    f"\"' onmouseover='{MARK}' autofocus onfocus={MARK} x=\"--><iframe srcdoc='<script>parent.{MARK}</script>'></iframe>]]>"
    f"<a href=javascript:{MARK}>a</a><style>*{{display:none}}</style><base href=//127.0.0.1:9/>"
    "<meta http-equiv=refresh content=0;url=//127.0.0.1:9>"
)
PAYLOADS = {
    "markup": MARKUP,
    "template": "{{ 7*191 }}{% for a in b %}{# ${7*191} <%= 7*191 %> $x^2_{y$ #}{{ self.__init__ }}",
    "markdown": f"` ```\n\n# big\n\n[a](javascript:{MARK}) ![b](//127.0.0.1:9/b.png) <details> | x | <!-- ~~~ <img src=x>\n\n> - *",
    "controls": "\u202eRTL\u2066\u200f\u061c\u05d0\u05d1\u202c \x00\x01\x07\x08\x0b\x0c\x1b[31m\x7f\x85\u2028\ufeff\ufffe\r\n\t\u0301",
    "long": " " + "W" * 400 + "/" + "\U0001f600" * 40,
    "surrogate": "\ud83d half",
}

# Keys whose values are words of the formats (results/README.md): readers branch on them, and a folder in which they are wrong is refused.
WORDS = {
    "kind", "status", "format", "verdict", "code", "delivery", "ordering", "persistence", "architecture", "profile", "schedule", "fan_out",
    "work_sharing", "partitions", "phase", "by", "lane", "percentile", "fault", "placement", "action", "started", "ended", "observed",
    "limit", "wait",
}  # fmt: skip
# Below these, keys are names that somebody chose.
NAMED = {"audit", "groups", "settings", "producer", "consumer", "clients", "tools", "machine"}


def scripted(text: str) -> str:
    """A URL becomes one that runs; what is no URL stays."""
    return re.sub(r"^https?:", f"javascript:{MARK}//", text)


def everything(text: str) -> str:
    """All payloads that end what they stand in, then those that end nothing; half a pair last, it may end the reading."""
    return text + "".join(PAYLOADS[name] for name in ("markup", "template", "controls", "surrogate"))


def elsewhere(text: str) -> str:
    """URLs that run in place of URLs, Markdown and words without end in place of names."""
    return scripted(text) if text.startswith("http") else text + PAYLOADS["markdown"] + PAYLOADS["long"]


def walk(node: Any, change: Change, key: str = "", parent: str = "") -> Any:
    """Change every string below ``node`` but the formats' words; and the keys that are names."""
    if isinstance(node, dict):
        return {
            (change(name) if key in NAMED and parent not in NAMED else name): walk(value, change, str(name), key)
            for name, value in node.items()
        }
    if isinstance(node, list):
        return [walk(one, change, key, parent) for one in node]
    return change(node) if isinstance(node, str) and key not in WORDS else node


def _rows(text: str, change: Change) -> str:
    head, *rows = list(csv.reader(io.StringIO(text)))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(head)
    for row in rows:
        pairs = zip(head, row, strict=True)
        writer.writerow([cell if name in WORDS or re.fullmatch(r"[\d.eE+-]*", cell) else change(cell) for name, cell in pairs])
    return out.getvalue()


def spoil(folder: Path, change: Change) -> list[Path]:
    """Rewrite every file of ``folder`` in place; return those that changed."""
    touched = []
    for path in sorted(folder.rglob("*")):
        if path.suffix not in {".json", ".yaml", ".csv"}:
            continue
        before = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            after = json.dumps(walk(json.loads(before), change))
        elif path.suffix == ".yaml":
            after = yaml.safe_dump(walk(yaml.safe_load(before), change))
        else:
            after = _rows(before, change)
        if after != before:
            path.write_text(after, encoding="utf-8", errors="surrogatepass", newline="")
            touched.append(path)
    return touched
