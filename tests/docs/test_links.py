"""Links lead somewhere, every page is linked, and lines are short."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import msinet_core

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(DOCS.rglob("*.md")),
    *sorted(page for page in (ROOT / "examples").rglob("*.md") if "node_modules" not in page.parts),
]
MAY_NAME_PRIVATE_MODULES = {
    ROOT / "CONTRIBUTING.md",
    DOCS / "explanation" / "architecture.md",
    *(DOCS / "decisions").glob("*.md"),
}


def prose(page: Path) -> str:
    """Return a page without its fenced blocks, except lists of pages."""

    def keep_toctree(match: re.Match[str]) -> str:
        return match[0] if match[0].startswith("```{toctree}") else ""

    text = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", keep_toctree, text, flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> Iterator[str]:
    """Yield the targets of the links on a page, and the entries of its lists of pages."""
    text = prose(page)
    for target in re.findall(r"(?<=\]\()[^)\s]+(?=\))|(?<=src=\")[^\"]+", text):
        if not target.startswith(("http://", "https://")):
            yield target
    for block in re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL):
        for entry in block.split("\n"):
            if entry and not entry.startswith(":") and "*" not in entry:
                yield f"{entry}.md"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and Sphinx make them."""
    titles = re.findall(r"^#{1,3} (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def broken_links(page: Path) -> list[str]:
    found = []
    for link in links(page):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            found.append(link)
    return found


def reachable(start: Path) -> set[Path]:
    """Return the pages that can be reached from a page by links and lists of pages."""
    found, todo = {start}, [start]
    while todo:
        page = todo.pop()
        for link in links(page):
            path = (page.parent / link.partition("#")[0]).resolve()
            if path.suffix == ".md" and path.exists() and path not in found:
                found.add(path)
                todo.append(path)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken_links(page) == []


def test_every_page_can_be_reached_from_the_landing_page() -> None:
    pages = {page.resolve() for page in DOCS.rglob("*.md")}
    assert pages - reachable((DOCS / "index.md").resolve()) == set()


def test_the_sidebar_has_every_page() -> None:
    listed = {link.removesuffix(".md") for link in links(DOCS / "index.md") if "#" not in link}
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")}
    records = {page for page in pages if page.startswith("decisions/0")}
    assert pages - records - {"index"} <= listed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_have_at_most_100_characters(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    # The rows of a table, and a word that cannot be broken, may be longer.
    long = [line for line in lines if len(line) > 100 and line[0] != "|" and " " in line.strip()]
    assert long == []


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page not in MAY_NAME_PRIVATE_MODULES],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_a_page_names_public_modules_only(page: Path) -> None:
    text = re.sub(r"```\{eval-rst\}.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    named = set(re.findall(r"\bmsinet_core[./](\w+)", text))
    assert named <= set(msinet_core.__all__)


def test_a_broken_link_and_a_lost_page_are_found(tmp_path: Path) -> None:
    index, other, lost = (tmp_path / f"{name}.md" for name in ("index", "other", "lost"))
    index.write_text(
        "[a](other.md#second-part)\n[b](other.md#third)\n[c](gone.md)\n[d](https://example.org)\n"
        "```text\n[e](code.md)\n```\n```{toctree}\n:glob:\n*\nmissing\n```\n"
    )
    other.write_text("# Other\n## Second part\n")
    lost.write_text("# Lost\n")
    assert broken_links(index) == ["other.md#third", "gone.md", "missing.md"]
    assert reachable(index) == {index, other}
