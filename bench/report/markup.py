"""Templates with what they need: filters that escape, one style sheet, one script, and the policy that allows only these two."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import jinja2
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


def environment(*, autoescape: bool) -> jinja2.Environment:
    """Templates, with the filters and globals that they use; ``autoescape`` is on for HTML."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=autoescape,  # noqa: S701  # off for Markdown only, whose own filter escapes
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["md"] = _markdown
    made.filters["fenced"] = _fenced
    # The only text that is not escaped: our own charts (whose names matplotlib escaped), our own style and script.
    made.filters["svg"] = lambda chart: Markup(chart.inline)  # noqa: S704
    css, script = _joined("css"), _joined("js")
    made.globals["css"] = Markup(css)  # noqa: S704
    made.globals["script"] = Markup(script)  # noqa: S704
    made.globals["policy"] = policy(css, script)
    return made


def policy(css: str, script: str) -> str:
    """The content security policy: nothing is fetched, and of style and script only these texts take effect."""
    return (
        f"default-src 'none'; style-src {_hash(css)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _joined(suffix: str) -> str:
    """Our own files of a kind as one text, the page's first."""
    paths = sorted(TEMPLATES.glob(f"*.{suffix}"), key=lambda path: (path.stem != "report", path.name))
    return "\n".join(path.read_text(encoding="utf-8").strip() for path in paths)


def _markdown(value: str) -> str:
    """Text for a table cell or a line of Markdown: no markup of the results folder takes effect."""
    flat = " ".join(str(value).split())
    for sign in "\\`*_[]|":
        flat = flat.replace(sign, f"\\{sign}")
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _fenced(value: str) -> str:
    """A fence longer than any run of backticks inside."""
    longest = max((len(part) for part in "".join(c if c == "`" else " " for c in value).split()), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{value.rstrip()}\n{fence}"
