"""Each check finds what it is for: a page made wrong in one way, and beside it the same page made right."""

from __future__ import annotations

from pathlib import Path

import looking
import pytest

GOOD = (Path(__file__).parent / "good.html").read_text(encoding="utf-8")

# what is put in place of what, and words of the fault
WRONG = {
    "overflow": ('<div class="box">', '<div style="width: 4000px">', "the page scrolls sideways"),
    "cut": (">short<", ' style="white-space: nowrap">a line that is so much longer than the box that it stands in<', "is cut"),
    "cut by the picture": ('x="10"', 'x="290"', "is cut"),
    "cut by the window": ('<div class="box">', '<div style="margin-left: -20px">', "is cut"),
    "overlapping": ('x="10" y="20">', 'x="205" y="22">', "lies on"),
    "small": ("font: 10px", "font: 6px", "6.0 px"),
    "contrast": ("color: #222", "color: #999", "contrast 2.85"),
    "contrast in a picture": ("fill: #eee", "fill: #333", "(51,51,51 on 17,34,51)"),
    "contrast of transparent ink": ("color: #222", "color: rgb(0 0 0 / 40%)", "contrast 2.85"),
    "colours": ("--s0: #0072b2", "--s0: #f0e442", "--s0: contrast 1.3"),
    "figures without a caption": ("<figcaption>caption</figcaption>", "", "without a caption"),
    "figures without a name": ('aria-label="what is seen"', "", "without a name"),
    "figures without data": ("<td>1</td>", "", "without its figures"),
    "headings": ("<h2>B</h2>", "<h3>B</h3>", 'h3 "B" follows h1'),
    "headings, two of the first": ("<h2>B</h2>", "<h1>B</h1>", "2 h1"),
    "links": ('href="#p"', 'href="#q"', "#q leads nowhere"),
    "links of one name": ("<h1>", '<h1 id="p">', "two of id p"),
    "foreign": ('href="https://example.org"', 'href="javascript:void 0"', "leads to"),
    "foreign handlers": ("<h1>", '<h1 onclick="void 0">', "has onclick"),
    "foreign tags": ("<h1>", "<img><h1>", "<img> is there"),
}  # fmt: skip
ALL = sorted({name.split()[0].rstrip(",") for name in WRONG})


def words(name):
    return (8,) if name == "small" else ()


def written(folder, source):
    path = folder / "page.html"
    path.write_text(source, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def look(browser):
    with looking.window(browser) as opened:
        yield opened


def test_a_good_page_has_no_fault(look, tmp_path):
    look.open(written(tmp_path, GOOD))
    for width in (looking.NARROW, looking.WIDE):
        look.set(width=width)
        assert {name: look.check(name, *words(name)) for name in ALL} == {name: [] for name in ALL}
    assert look.axe() == []
    assert look.said + look.asked == []


@pytest.mark.parametrize("fault", WRONG)
def test_a_fault_is_found(look, tmp_path, fault):
    old, new, told = WRONG[fault]
    assert old in GOOD
    name = fault.split()[0].rstrip(",")
    look.open(written(tmp_path, GOOD.replace(old, new)))
    assert told in " ".join(look.check(name, *words(name)))


@pytest.mark.parametrize(
    ("put", "told"),
    [
        ("<script>throw Error('mine')</script>", "uncaught: mine"),
        ("<script>console.warn('mind')</script>", "warning: mind"),
        ("<script>alert('me')</script>", "dialog: me"),
        ("<meta http-equiv=Content-Security-Policy content=\"script-src 'none'\"><script>1</script>", "forbidden by the policy"),
        ('<img alt="" src="https://127.0.0.1:9/x.png">', "image: https://127.0.0.1:9/x.png"),
        ('<link rel="stylesheet" href="other.css">', "stylesheet: file:///"),
        ("<script>fetch('https://127.0.0.1:9/beacon').catch(() => 0)</script>", "fetch: https://127.0.0.1:9/beacon"),
        ("<style>h1 { background: url(other.png) }</style>", "image: file:///"),
    ],
)  # fmt: skip
def test_a_page_that_says_or_asks_for_something_is_found(look, tmp_path, put, told):
    look.open(written(tmp_path, GOOD.replace("<title>", f"{put}<title>")))
    look.page.wait_for_timeout(50)
    assert told in " ".join(look.said + look.asked)


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("color: #222", "color: #999", "color-contrast"),
        ('lang="en"', "", "html-has-lang"),
        (">back<", "><", "link-name"),
        ('role="img" aria-label="what is seen"', 'role="img"', "svg-img-alt"),
        ("<h2>", '<h2 role="boss">', "aria-roles"),
    ],
)
def test_axe_finds_what_is_serious(look, tmp_path, old, new, rule):
    look.open(written(tmp_path, GOOD.replace(old, new)))
    assert rule in " ".join(look.axe())
