"""A model card: what a network is, how well it does, and on which data, as the Hugging Face hub shows it."""

from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from omegaconf import OmegaConf

TASKS = {"probabilities": "image-classification", "reconstruction": "image-to-image", "output": "tabular-regression"}


def model_card(result: dict[str, Any], about: dict[str, Any], use: str | None, hub: str = "USER/NAME") -> str:
    """README.md of an exported run: a YAML header that the hub reads, then a few paragraphs.

    about: `program.facts` and the comparison. use: how its file is loaded; None where it is a run directory.
    hub: what it is called there.
    """
    data, task = about["data"], TASKS[about["outputs"][0]]
    title = f"{about['model']} on {data}"
    metrics = [
        {"type": name.removeprefix("test/"), "value": value}
        for name, value in about["metrics"].items()
        if value is not None
    ]
    evaluated = {
        "task": {"type": task},
        "dataset": {"type": data, "name": data if about["source"] == "real" else f"a stand-in for {data}"},
        "metrics": metrics,
    }
    header = {
        "library_name": "dlcourse",
        "pipeline_tag": task,
        "tags": ["dlcourse", about["model"], data],
        "model-index": [{"name": title, "results": [evaluated]}],
    }
    text = OmegaConf.to_yaml(OmegaConf.create(header)).strip()
    template = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(
        (files("dlcourse.deploy") / "card.md").read_text(encoding="utf-8")
    )
    own = {"header": text, "title": title, "metrics": metrics, "use": use, "hub": hub}
    return template.render(result | about | own)
