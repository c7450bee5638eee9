"""The documentation that travels with the package: a page of Markdown a topic."""

from pathlib import Path

FOLDER = Path(__file__).with_name("docs")


def topics() -> list[str]:
    """The names of the pages."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def text(topic: str) -> str:
    """A page, as Markdown."""
    return (FOLDER / f"{topic}.md").read_text(encoding="utf-8")
