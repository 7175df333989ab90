"""Finished reports, published: copied to docs/reports, an index of all claims beside them, a summary in the README."""

import contextlib
import json
import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os.path import relpath
from pathlib import Path
from typing import Any

from dlcourse import plots
from dlcourse.core.errors import InputError
from dlcourse.reports.page import MD, SIGNS, VERDICTS, Finding
from dlcourse.reports.render import beside_published, escape_markdown, label_verdict, markdown_table
from dlcourse.runs import write_bytes
from dlcourse.studies.study import load_study, study_names
from dlcourse.studies.verdict import Point, Verdict, not_run

INDEX, PICTURE = "README.md", "published.png"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
LIMIT = 15_000_000  # bytes of all that is published
EVIDENCE = 180  # characters of it in the index


@dataclass(frozen=True)
class Found:
    """What a study found. banner: what has to be said about its data; page: whether its report is published."""

    study: str
    title: str
    findings: list[Finding]
    banner: list[str] = field(default_factory=list)
    page: bool = True


def publish(studies: Path, target: Path, readme: Path) -> tuple[list[str], list[str], list[str]]:
    """Copy every finished full report of `studies` into `target`, then write its index and the README's section.

    Returns the names of the studies that were copied, a sentence for each one that was not, and one for each verdict
    that is another than before.
    """
    if BEGIN not in (text := _read(readme)) or END not in text:
        raise InputError(f"{readme} has no place for the results: the lines {BEGIN} and {END}")
    target.mkdir(parents=True, exist_ok=True)
    copied, left_out, before = [], [], kinds_by_claim(target)
    for report in sorted(studies.glob(f"*/*/report/{MD}")):
        folder = report.parent
        name = folder.parent.relative_to(studies).as_posix()
        if reason := unfinished(folder):
            left_out.append(f"{name}: {reason}")
        else:
            copy(folder, target, name)
            copied.append(name)
    found = published(target)
    if picture := overview_picture(found):
        write_bytes(target / PICTURE, picture)
    write_bytes(target / INDEX, index(found, bool(picture)).encode())
    write_bytes(readme, section(text, summary(found, relpath(target, readme.parent), bool(picture))).encode())
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    if size > LIMIT:
        left_out.append(f"{target} holds {size / 1e6:.1f} MB, more than {LIMIT / 1e6:.0f}")
    return copied, left_out, changes(before, kinds_by_claim(target))


def kinds_by_claim(target: Path) -> dict[tuple[str, str, str], str]:
    """The verdict's words for each study's claim and check in the published reports, whatever words they are."""
    found = {}
    for path in sorted(target.glob(f"*/*/{VERDICTS}")):
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            about = json.loads(_read(path))
            for claim in about["claims"]:
                basis = f" ({', '.join(claim['basis'])})" if claim.get("basis") else ""
                found[about["study"], claim["text"], claim["where"]] = claim["kind"] + basis
    return found


def changes(before: Mapping[tuple[str, str, str], str], now: Mapping[tuple[str, str, str], str]) -> list[str]:
    """A sentence for each claim whose verdict is another than before, or that is new."""
    return [
        f"{study}, {text!r}: {before.get((study, text, where), 'new')} → {kind}"
        for (study, text, where), kind in now.items()
        if kind != before.get((study, text, where))
    ]


def unfinished(folder: Path) -> str:
    """Why a report is not to be published, empty where it is."""
    if not (folder / VERDICTS).is_file():
        return "its report gives no verdicts"
    about = verdicts(folder / VERDICTS)
    if about.get("budget") != "full":
        return "run with a small budget"
    if about["done"] < about["runs"]:
        return f"{about['done']} of {about['runs']} runs are done"
    if about["overrides"]:
        return f"run with {', '.join(about['overrides'])} of the command line instead of the study's"
    return ""


def copy(folder: Path, target: Path, name: str) -> None:
    """report.md as target/NAME.md, what it shows and verdicts.json in target/NAME/; pictures with fewer colours."""
    stem = name.rsplit("/", 1)[-1]
    inside = target / name
    inside.mkdir(parents=True, exist_ok=True)
    files = {VERDICTS: (folder / VERDICTS).read_bytes()}
    pictures = sorted((folder / "figures").glob("*.png"))
    files |= {png.name: plots.quantize_png(png.read_bytes(), colours=128) for png in pictures}
    for file, data in files.items():
        write_bytes(inside / file, data)
    for old in set(inside.iterdir()) - {inside / file for file in files}:
        old.unlink()
    text = re.sub(r"\]\(figures/([^)]+\.png)\)", rf"]({stem}/\1)", _read(folder / MD))
    write_bytes(target / f"{name}.md", f"[All claims]({relpath(target / INDEX, inside.parent)})\n\n{text}".encode())


def published(target: Path) -> list[Found]:
    """What the published reports say; the claims of studies without one are `not run`."""
    found = {}
    for name in study_names():
        study = load_study(name)
        findings = [Finding(c.text, c.where, not_run(""), c.check) for c in study.claims]
        found[name] = Found(name, study.title, findings, page=False)
    for path in sorted(target.glob(f"*/*/{VERDICTS}")):
        name = path.parent.relative_to(target).as_posix()
        about = verdicts(path)
        found[name] = Found(name, about["title"], [finding(claim) for claim in about["claims"]], about["banner"])
    return [found[name] for name in sorted(found)]


def verdicts(path: Path) -> dict[str, Any]:
    """A verdicts.json. Raises InputError for one that is damaged."""
    try:
        about = json.loads(_read(path))
        if not {"title", "banner", "claims", "runs", "done", "overrides"} <= about.keys():
            raise ValueError
        for claim in about["claims"]:
            finding(claim)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged: it is not what a study writes") from error
    return {str(key): value for key, value in about.items()}


def finding(claim: dict[str, Any]) -> Finding:
    points = tuple(Point(*point) for point in claim.get("points", ()))
    verdict = Verdict(claim["kind"], claim["evidence"], tuple(claim.get("basis", ())), points)
    return Finding(claim["text"], claim["where"], verdict, claim["check"])


def overview_picture(found: Sequence[Found]) -> bytes | None:
    """A PNG of the published figures beside the measured ones, of those verdicts that keep both; None of none."""
    rows = [
        row._replace(label=f"{study.study}: {row.label}") for study in found for row in beside_published(study.findings)
    ]
    title = "Published figures beside the measured ones"
    return plots.png(plots.beside_published(rows, title, lines=1)) if rows else None


def index(found: Sequence[Found], picture: bool = False) -> str:
    """The table of all claims, a row each."""
    rows = [
        [
            link(study),
            escape_markdown(f.text),
            f"**{label_verdict(f.verdict.kind)}**",
            f.stands_on,
            escape_markdown(textwrap.shorten(f.verdict.evidence, EVIDENCE, placeholder=" …")),
        ]
        for study in found
        for f in study.findings
    ]
    parts = [
        "# What the reports claim, and what came out",
        f"{len(rows)} claims and questions: {counts(found)}. Each page has the tables, the figures and the deviations "
        "behind its verdicts.",
        "A claim is *reproduced* where it holds here too, *beaten* where its figure is exceeded, *refuted* where it "
        "doesn't hold, each by more than the noise (the 95 % interval of the mean over seeds), else *undecided*. A "
        "question is one that the report leaves open. What a verdict stands on is the published data, or data of the "
        "same form, a smaller budget, weights that were rebuilt: there an ordering or a trend says more than a figure.",
        cross_table(found),
        *([f"![Published figures beside the measured ones]({PICTURE})"] if picture else []),
        markdown_table(["study", "claim", "verdict", "stands on", "evidence"], rows),
    ]
    notes = [f"- {link(study)}: {escape_markdown(sentence)}" for study in found for sentence in study.banner]
    if notes:
        parts += ["## Notes", "\n".join(notes)]
    return "\n\n".join(parts) + "\n"


def cross_table(found: Sequence[Found]) -> str:
    """How many verdicts of each kind stand on what."""
    findings = [f for study in found for f in study.findings]
    outcomes = [kind for kind in SIGNS if any(f.verdict.kind == kind for f in findings)]
    grounds = sorted({f.stands_on for f in findings if f.stands_on}, key=lambda text: (text != "published data", text))
    pairs = Counter((f.verdict.kind, f.stands_on) for f in findings)
    rows = [[ground, *(str(pairs[kind, ground] or "") for kind in outcomes)] for ground in grounds]
    return markdown_table(["stands on", *map(label_verdict, outcomes)], rows, [False, *[True] * len(outcomes)])


def summary(found: Sequence[Found], where: str, picture: bool = False) -> str:
    """The table in short, a row a study, as the README has it. where: the folder of the reports, from there."""
    total = kinds(found)
    rows = []
    for study in found:
        count = kinds([study])
        rows.append(
            [link(study, f"{where}/"), escape_markdown(study.title), *(str(count[kind] or "") for kind in total)]
        )
    table = markdown_table(["study", "what", *map(label_verdict, total)], rows, [False, False, *[True] * len(total)])
    sentence = f"{total.total()} claims and questions: {counts(found)}."
    drawn = f"\n\n![Published figures beside the measured ones]({where}/{PICTURE})" if picture else ""
    return f"{sentence} [Every claim with its evidence]({where}/{INDEX}).\n\n{table}{drawn}"


def kinds(found: Sequence[Found]) -> Counter[str]:
    """How often each kind of verdict was given, in the order of SIGNS."""
    given = Counter(f.verdict.kind for study in found for f in study.findings)
    return Counter({kind: given[kind] for kind in SIGNS if given[kind]})


def counts(found: Sequence[Found]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in kinds(found).items())


def link(study: Found, where: str = "") -> str:
    return f"[{study.study}]({where}{study.study}.md)" if study.page else study.study


def section(text: str, new: str) -> str:
    """A text with what stands between BEGIN and END replaced."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{new.strip()}\n{END}{rest.partition(END)[2]}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from error
