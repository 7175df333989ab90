"""What mkdocs.yml can't say: pages from the top, the reports in the navigation, links that lead out of docs/."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

TOP = Path(__file__).parents[1]
AT_THE_TOP = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_config(config: Any) -> Any:
    """The reports: the index of all claims, then a section a course, as they lie there."""
    docs = Path(config.docs_dir)
    courses: dict[str, list[str]] = {}
    for page in sorted(docs.glob("reports/*/*.md")):
        courses.setdefault(page.parent.name.upper(), []).append(page.relative_to(docs).as_posix())
    section = next(item for item in config.nav if "The reports" in item)
    changed = {"Verdicts that changed": "reports/changes.md"}
    section["The reports"] = ["reports/README.md", changed, *({name: of} for name, of in courses.items())]
    return config


def on_files(files: Files, config: Any) -> Files:
    for page, source in AT_THE_TOP.items():
        text = (TOP / source).read_text(encoding="utf-8")
        for own, other in AT_THE_TOP.items():
            text = text.replace(f"]({other})", f"]({own})")
        text = re.sub(r"\]\(docs/([^)]+)\)", r"](\1)", text)
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """A link to code or configs, which are no part of the site, is what it says."""
    docs = Path(config.docs_dir)
    here = (docs / page.file.src_uri).parent

    def kept(link: re.Match[str]) -> str:
        path = link[2].split("#")[0]
        target = (here / path).resolve()
        inside = target.is_relative_to(docs) and target.exists()
        return link[0] if inside or "://" in path or path in AT_THE_TOP else link[1]

    return LINK.sub(kept, markdown)
