"""The documents name files and modules that exist, and their links lead somewhere."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from clbench.instantiate import locate

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [
        *(
            ROOT / name
            for name in ("README.md", "CONTRIBUTING.md", "conf/README.md", "benchmarks/README.md", "results/README.md")
        ),
        *(ROOT / "docs").glob("*.md"),
    ]
)
PLACEHOLDERS = re.compile(r"GROUP|NAME|SCENARIO|METHOD|TABLE|ROW|…")
"""A part of a path that stands for any name: `conf/method/NAME.yaml`."""
TREES = "clbench|conf|tests|tools|benchmarks|docs|results|hydra_plugins"


def text_of(page):
    return page.read_text(encoding="utf-8")


def exists(name):
    """Return whether a path is there; `*` stands for some part of a name, `{a,b}` for both."""
    braces = re.search(r"{([^}]*)}", name)
    if braces:
        return all(exists(name[: braces.start()] + part + name[braces.end() :]) for part in braces[1].split(","))
    return any(ROOT.glob(name))


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.S)
    headings = re.findall(r"^#+ +(.+)$", prose, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page):
    named = set(re.findall(rf"(?<![\w./-])(?:{TREES})/[\w./*{{}}<>…,-]*[\w*}}]", text_of(page)))
    assert [name for name in sorted(named) if not PLACEHOLDERS.search(name) and not exists(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_that_a_page_names_exist(page):
    named = sorted(set(re.findall(r"(?<![\w./-])clbench(?:\.[A-Za-z_]\w*)+", text_of(page))))
    missing = []
    for name in named:
        try:
            import_module(name)
        except ImportError:
            try:
                locate(name, page.name)
            except Exception as error:
                missing.append(f"{name}: {error}")
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_resolve(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        if not other.exists() or (anchor and other.suffix == ".md" and anchor not in anchors(other)):
            broken.append(target)
    assert broken == []


def test_every_document_can_be_reached_from_the_readme():
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)\s#]+)[^)]*\)", text_of(page))
        todo += [path for link in links if (path := (page.parent / link).resolve()).is_file()]
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in seen] == []
