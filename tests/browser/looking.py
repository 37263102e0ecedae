"""A report in a real browser: Debian's Chromium, headless, driven by playwright; what it says, asks for and shows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Route

NAMES = ("chromium", "chromium-browser", "google-chrome")
# As root there is no sandbox to be had; the pages are our own. In a container /dev/shm is small. Text looks the same on every screen.
WORDS = ("--no-sandbox", "--disable-dev-shm-usage", "--font-render-hinting=none", "--disable-lcd-text", "--force-color-profile=srgb")
CHECKS = (Path(__file__).parent / "checks.js").read_text(encoding="utf-8")
WIDE, NARROW, PAPER = 1300, 390, 1032  # px; A4 landscape within margins of 12 mm is 273 mm
# Runs in every document before anything of its own: what a content security policy forbade is a fault, not a line for developers only.
LISTEN = """
addEventListener("securitypolicyviolation",
  (e) => console.error(`forbidden by the policy: ${e.violatedDirective} ${e.blockedURI} ${e.sample}`));
"""


def missing() -> str | None:
    """Why no browser can be had here; None where one can."""
    if not any(map(shutil.which, NAMES)):
        return "no Chromium on the path: as root tools/setup dev installs it, or by hand apt-get install chromium fonts-dejavu-core"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed: tools/setup dev installs it"
    return None


@contextmanager
def started() -> Iterator[Browser]:
    """One browser, without a window."""
    from playwright.sync_api import sync_playwright

    path = next(found for name in NAMES if (found := shutil.which(name)))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(WORDS))
        yield browser
        browser.close()


class Look:
    """One open page.

    Attributes:
        said: console errors and warnings, uncaught errors, dialogs, what the content security policy forbade.
        asked: every request but that of the file itself; none of them is let through.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self._url, self._folder = "", Path()
        context.add_init_script(LISTEN)
        context.route("**/*", self._asked)
        self.page: Page = context.new_page()
        context.on("page", lambda page: self.asked.append(f"a new page: {page.url}"))
        context.on("request", self._requested)
        self.page.on("console", lambda m: self.said.append(f"{m.type}: {m.text}") if m.type in {"error", "warning", "assert"} else None)
        self.page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        self.page.on("crash", lambda _: self.said.append("the page crashed"))
        self.page.on("dialog", self._dialog)

    def open(self, path: Path) -> Look:
        """Load a file; what an earlier one said and asked for is forgotten."""
        self._url, self._folder = path.absolute().as_uri(), path.parent
        self.said.clear()
        self.asked.clear()
        self.page.goto(self._url, wait_until="load")
        self.page.evaluate(CHECKS)
        return self

    def _own(self, url: str) -> bool:
        return url.partition("#")[0] == self._url

    def _requested(self, request: Any) -> None:
        if not self._own(request.url):
            self.asked.append(f"{request.resource_type}: {request.url[:200]}")

    def _asked(self, route: Route) -> None:
        if self._own(route.request.url):
            route.continue_()
        else:
            route.abort()

    def _dialog(self, dialog: Any) -> None:
        self.said.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def set(self, *, width: int | None = None, dark: bool | None = None, printed: bool | None = None) -> None:
        """Another window, scheme or medium of the same page, without loading it again."""
        if width is not None:
            self.page.set_viewport_size({"width": width, "height": 900})
        if dark is not None:
            self.page.emulate_media(color_scheme="dark" if dark else "light")
        if printed is not None:
            self.page.emulate_media(media="print" if printed else "screen")

    def check(self, name: str, *words: Any) -> list[str]:
        """The faults that a check of checks.js finds."""
        found = self.page.evaluate(f"checks.{name}({', '.join(map(json.dumps, words))})")
        return [str(one) for one in found]

    def foreign(self) -> list[str]:
        """The faults of that check, and links that lead to no file beside the page."""
        return self.check("foreign") + [
            f"a link to {where}, which is not there"
            for where in self.page.evaluate("checks.files()")
            if not (self._folder / str(where)).is_file()
        ]

    def axe(self, *, only: Sequence[str] = (), without: Sequence[str] = (), within: Sequence[str] = ("html",)) -> list[str]:
        """What axe-core finds that is serious or critical: by all its rules, by some, by all but some; in parts of the page."""
        if not self.page.evaluate("!!window.axe"):
            self.page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
        options: dict[str, Any] = {"resultTypes": ["violations"], "rules": {rule: {"enabled": False} for rule in without}}
        if only:
            options["runOnly"] = list(only)
        found = self.page.evaluate("([within, options]) => axe.run({ include: within }, options)", [list(within), options])
        return [
            f"{one['id']} ({one['impact']}), {len(one['nodes'])} times: {one['help']}; first: {one['nodes'][0]['html'][:200]}"
            for one in found["violations"]
            if one["impact"] in {"serious", "critical"}
        ]


@contextmanager
def window(browser: Browser, *, width: int = WIDE, dark: bool = False, scale: float = 1) -> Iterator[Look]:
    """An empty window in a context of its own: it shares nothing with others."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        device_scale_factor=scale,
        reduced_motion="reduce",
    )
    context.set_default_timeout(20_000)
    try:
        yield Look(context)
    finally:
        context.close()
