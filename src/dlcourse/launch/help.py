"""`python -m dlcourse.train --help [WORD]`: what there is to choose and to set, read off the files of conf/."""

import ast
import re
import textwrap
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from dlcourse.config.identity import flatten
from dlcourse.config.schema import RULES, TEXT
from dlcourse.config.search import conf_dir, find_config, groups, study_names
from dlcourse.core.errors import InputError, did_you_mean, or_list
from dlcourse.launch.compose import compose_config

WIDTH = 100
COMMAND = "python -m dlcourse.train"
OVERVIEW = """\
Train one run:       {command} model=cnn data=nist36 optimizer.lr=0.001 seed=1
Sweep over several:  {command} -m model=linear,mlp,cnn seed=0,1,2
A preset:            {command} experiment=cmu/q6_1_2_cnn
A report's table:    {command} study=ntnu/logistic [budget=quick]

What to choose, GROUP=OPTION (--help GROUP tells what each is, --help GROUP=OPTION all about one):
{groups}

What to set most often, KEY=VALUE (--help KEY explains one, --help data all of a group):
{keys}

Then, with the run's directory (of a sweep's directory, with its best run):
  python -m dlcourse.evaluate | resume | predict run=DIR    python -m dlcourse.runs [DIR]
  python -m dlcourse.report DIR...                          tensorboard --logdir outputs

Options: -m a sweep, --config-dir DIR a folder of your own, --cfg job shows the config and no more,
  --summary the network's layers, --shell-completion install=bash (docs/runs.md),
  --hydra-help Hydra's own"""
OFTEN = ("seed", "optimizer.lr", "data.batch_size", "data.limit", "data.root", "trainer.max_epochs",
         "trainer.accelerator", "hydra.run.dir")  # fmt: skip
MEANINGS = {  # of keys that have no comment where they are set
    "optimizer.lr": "the learning rate",
    "trainer.max_epochs": "epochs at most",
    "trainer.accelerator": "auto | cpu | gpu | mps",
    "hydra.run.dir": "the directory of the run",
}


def help_text(words: list[str]) -> str:
    """What `--help` with these words says. Raises InputError for a word that names nothing."""
    if not words:
        return overview()
    if len(words) > 1:
        raise InputError(f"--help explains one thing at a time: {words[0]}, or {words[1]}")
    (word,) = words
    group, equals, option = word.partition("=")
    options = option_names()
    if equals and group not in options:
        return explain_key(group)
    if equals:
        if option not in options[group]:
            possible = or_list(options[group], 40)
            raise InputError(f"there is no {word}{did_you_mean(option, options[group])} (there is {possible})")
        return explain_study(option) if group == "study" else explain_option(group, option)
    return explain_group(group, options[group]) if group in options else explain_key(group)


def overview() -> str:
    """One screen: the kinds of commands, the choices, the keys that are set most often."""
    known = [(group, ", ".join(names)) for group, names in groups().items() if group != "experiment"]
    known += [("experiment", f"presets, one run of a report each: {COMMAND} --help experiment")]
    known += [("study", f"tables of reports with their claims: {COMMAND} --help study")]
    values = _values("train.yaml") | {"optimizer.lr": _values("optimizer/adam.yaml")["lr"]}
    values |= {"trainer.accelerator": "auto", "hydra.run.dir": "outputs/runs/TIME_NAME"}
    told = _comments(conf_dir() / "train.yaml") | MEANINGS
    keys = _columns([(key, _typed(values[key]), told.get(key, "")) for key in OFTEN])
    listed = "\n".join(_wrapped(f"  {group:<11}", text) for group, text in known)
    return OVERVIEW.format(command=COMMAND, groups=listed, keys=keys)


def explain_group(group: str, names: list[str]) -> str:
    """A line for each option of a group; and the keys that all of them share."""
    lines = [(f"  {group}={name}", _comment(find_config(group, name)).split("\n")[0]) for name in names]
    wide = min(max(len(name) for name, _ in lines), 44) + 2
    shown = "\n".join(
        f"{name:<{wide}}{textwrap.shorten(what, WIDTH - wide, placeholder=' ...')}" for name, what in lines
    )
    shared = [key for key in _values("train.yaml") if key.startswith(f"{group}.")]
    if shared:
        values, told = _values("train.yaml"), _comments(conf_dir() / "train.yaml")
        shown += f"\n\nKeys of any {group}, with their defaults:\n"
        shown += _columns([(key, _typed(values[key]), _meaning(key, told)) for key in shared])
    return f"{shown}\n\nAll about one: {COMMAND} --help {group}={names[0]}"


def explain_option(group: str, name: str) -> str:
    """A choice's comment, the keys that it brings with their values and meaning, and an example."""
    values, told, chosen = _brought(find_config(group, name), group)
    targets = {key: values.pop(key) for key in list(values) if key.endswith("_target_")}
    parts = [_comment(find_config(group, name)), f"It chooses {', '.join(chosen)}." if chosen else ""]
    if values:
        parts.append("What it sets:\n" + _columns([(k, _typed(v), _meaning(k, told)) for k, v in values.items()]))
    parts += [
        _about(key.removesuffix("._target_"), target) for key, target in targets.items() if key != "model._target_"
    ]
    settable = [k for k, v in values.items() if isinstance(v, int | float | list) and not isinstance(v, bool)]
    own = [k for k in settable if k.startswith(f"{group}.net.")] or [k for k in settable if k.startswith(f"{group}.")]
    also = f" {own[0]}={_typed(values[own[0]]).replace(' ', '')}" if own else ""
    needed = " data.root=DIR" if (group, name) == ("data", "folder") else ""
    parts.append(f"Example: {COMMAND} {group}={name}{needed}{also}")
    parts += [f"Keys that any {group} has: {COMMAND} --help {group}"] if group in ("data", "trainer") else []
    return "\n\n".join(filter(None, parts))


def explain_study(name: str) -> str:
    """A study's title and text, its runs, how many claims it puts to them, and the commands."""
    found: dict[str, Any] = yaml.safe_load(find_config("study", name).read_text(encoding="utf-8"))
    runs = "\n".join(
        _wrapped(
            f"  {block}:  ",
            " ".join(f"{k}={_typed(v).strip('[]').replace(', ', ',')}" for k, v in (keys or {}).items()),
        )
        for block, keys in found["runs"].items()
    )
    claims = [claim.get("claim") or claim.get("question") for claim in found.get("claims", ())]
    told = "\n".join(
        textwrap.fill(str(claim), WIDTH, initial_indent="  - ", subsequent_indent="    ") for claim in claims
    )
    text = textwrap.fill(" ".join(str(found.get("text", "")).split()), WIDTH)
    parts = [f"{found['title']}\n({found.get('source', 'a study')})", text, f"Its runs:\n{runs}"]
    parts += [f"What is asked of them:\n{told}"] if claims else []
    example = f"{COMMAND} study={name}"
    return (
        "\n\n".join(filter(None, parts))
        + f"\n\nExample: {example}\nIn two minutes, without verdicts: {example} budget=quick"
    )


def explain_key(key: str) -> str:
    """A key's default, what it means, and which values it may have."""
    cfg = compose_config([])
    values = flatten(unresolved(cfg))
    if key not in values and key not in RULES:
        raise InputError(f"there is no {key}{did_you_mean(key, [*option_names(), *values, *RULES])}")
    told = _comments(conf_dir() / "train.yaml") | MEANINGS
    lines = [f"{key}={_typed(values[key])}" if key in values else f"{key} (not of the default choices)"]
    lines += [f"  {told[key]}"] if key in told else []
    lines += [f"  may be {RULES[key][1]}"] if key in RULES else []
    return "\n".join(lines)


# --- reading conf/ ---------------------------------------------------------------------------------------------------


def option_names() -> dict[str, list[str]]:
    """The groups and their choices, studies too."""
    return groups() | {"study": study_names()}


def unresolved(cfg: Any) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _values(name: str) -> dict[str, Any]:
    plain = unresolved(OmegaConf.load(conf_dir() / name))
    return flatten({key: value for key, value in plain.items() if key not in ("defaults", "hydra")})


def _brought(path: Path, group: str) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """What a file and those that it builds on set: keys with values, keys with comments, choices of other groups."""
    text = path.read_text(encoding="utf-8")
    plain: dict[str, Any] = yaml.safe_load(text) or {}
    globally = "@package _global_" in text
    prefix = "" if globally else f"{group}."
    values: dict[str, Any] = {}
    told: dict[str, str] = {}
    chosen: list[str] = []
    for entry in plain.pop("defaults", ()):
        if isinstance(entry, dict):
            chosen += [f"{str(key).removeprefix('override ').lstrip('/')}={choice}" for key, choice in entry.items()]
        elif entry != "_self_":
            name, _, package = str(entry).lstrip("/").removeprefix(f"{group}/").partition("@")
            base, comments, further = _brought(find_config(group, name), group)
            inner = f"{group}.{package}." if package else f"{group}."
            values |= {key.replace(f"{group}.", inner, 1): value for key, value in base.items()}
            told |= {key.replace(f"{group}.", inner, 1): comment for key, comment in comments.items()}
            chosen = [*further, *chosen]
    values |= {prefix + key: value for key, value in flatten(plain).items()}
    told |= {prefix + key: comment for key, comment in _comments(path).items()}
    return values, told, list(dict.fromkeys(chosen))


def _comment(path: Path) -> str:
    """The lines of comment at the top of a file, without Hydra's own and commands."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line and not line.startswith("#   "):
            lines.append(line.lstrip("# "))
    return textwrap.fill(" ".join(lines), WIDTH) if lines else ""


def _comments(path: Path) -> dict[str, str]:
    """The comment beside each key of a YAML file, by the key's dotted name."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found: dict[str, str] = {}

    def walk(node: yaml.Node | None, prefix: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            after = value if isinstance(value, yaml.ScalarNode) or value.flow_style else key
            rest = lines[after.end_mark.line][after.end_mark.column :]
            if match := re.match(r":?\s+#\s*(.*)", rest):
                found[prefix + key.value] = match[1]
            walk(value, f"{prefix}{key.value}.")

    walk(yaml.compose(text), "")
    return found


def _about(key: str, target: str) -> str:
    """The class behind a key; of a network what its arguments mean, read without importing it."""
    package, _, name = target.rpartition(".")
    if package != "dlcourse.nets":
        return f"{key} is {target}."
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (Path(__file__).parents[1] / "nets").glob("*.py"))
    found = next(n for tree in trees for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    lines = (ast.get_docstring(found) or "").splitlines()
    return "\n".join([f"{key} is {target}:", *(f"  {line}".rstrip() for line in lines)])


def _meaning(key: str, told: dict[str, str]) -> str:
    rule = RULES[key][1] if key in RULES and RULES[key] is not TEXT else ""
    return told.get(key) or MEANINGS.get(key) or rule


# --- writing ---------------------------------------------------------------------------------------------------------


def _typed(value: Any) -> str:
    """A value as YAML has it; one that follows from others is only named."""
    if isinstance(value, str):
        return (
            re.sub(r"^\$\{([\w.]+)\}$", r"= \1", value)
            if not value.startswith("${") or ":" not in value
            else "(follows)"
        )
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n...\n").strip()


def _columns(rows: list[tuple[str, str, str]]) -> str:
    """Keys, values and meanings, one below the other; a meaning goes on in the next line where it is long."""
    first = min(max(len(key) for key, _, _ in rows), 40) + 2
    second = min(max(len(value) for _, value, _ in rows), 22) + 2
    return "\n".join(
        _wrapped(f"  {key:<{first}}{value:<{second}}", told, 2 + first + second) for key, value, told in rows
    )


def _wrapped(start: str, text: str, indent: int | None = None) -> str:
    space = " " * (len(start) if indent is None else indent)
    return (
        textwrap.fill(start + text, WIDTH, subsequent_indent=space, break_long_words=False).rstrip()
        if text
        else start.rstrip()
    )
