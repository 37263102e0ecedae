"""expected.toml: what each system can do, by hand, so that an "unsupported" cannot grow unnoticed."""

import tomllib
from pathlib import Path
from typing import Any

EXPECTED: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parent / "expected.toml").read_text(encoding="utf-8"))
