"""The documentation in this package: one page of Markdown per topic."""

from pathlib import Path

FOLDER = Path(__file__).with_name("docs")


def topics() -> list[str]:
    """Return the names of the pages, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def text(topic: str) -> str:
    """Return a page as Markdown."""
    return (FOLDER / f"{topic}.md").read_text(encoding="utf-8")
