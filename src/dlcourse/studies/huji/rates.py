"""How wide the range of good learning rates is."""

from collections.abc import Sequence

from pandas import DataFrame

from dlcourse.reports.page import Table
from dlcourse.studies.checks import check
from dlcourse.studies.rules import least_seeds, rule_each, side
from dlcourse.studies.runs import Runs
from dlcourse.studies.samples import Sample, aggregate_by, format_metric, lead
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import MissingRunsError, Verdict, answered


def by_rate(study: Study, runs: Runs) -> Table:
    """Test accuracy, a row a learning rate, a column a block."""
    columns = {
        study.label(block): {lr: format_metric("accuracy", s) for lr, s in accuracies(runs.table, block).items()}
        for block in study.blocks
    }
    return Table("Test accuracy by learning rate", DataFrame(columns).rename_axis("learning rate").reset_index())


def accuracies(table: DataFrame, block: str) -> dict[float, Sample]:
    """A block's test accuracy by learning rate. Raises MissingRunsError where there are not two."""
    found = aggregate_by(table, "test/accuracy", "optimizer.lr", {"block": block}, complete=True)
    if len(found) < 2:
        raise MissingRunsError(f"{block} has no finished runs at two rates")
    return found


def good_rates(table: DataFrame, block: str, lost: float) -> tuple[list[float], float]:
    """The rates whose mean is within `lost` of the best, and how many tens lie between the lowest and the highest."""
    found = accuracies(table, block)
    best = max(s.mean for s in found.values())
    good = sorted(lr for lr, s in found.items() if s.mean >= best - lost)
    return good, good[-1] / good[0]


@check
def needs_no_search(table: DataFrame, block: str, lost: float) -> Verdict:
    """Reproduced where every rate gets within `lost` of the best, refuted where one doesn't."""
    found = accuracies(table, block)
    best = max(found.values(), key=lambda s: s.mean)
    leads = [lead(s, best, "accuracy") for s in found.values()]
    listed = ", ".join(f"{lr:g}: {format_metric('accuracy', s)}" for lr, s in found.items())
    return rule_each([side(ahead + lost, noise) for ahead, noise in leads], listed, least_seeds(found.values()))


@check
def wider_range(table: DataFrame, blocks: Sequence[str], lost: float) -> Verdict:
    """From where to where each block's rates are good."""
    ranges = {block: good_rates(table, block, lost) for block in blocks}
    texts = [f"{b}: {good[0]:g} to {good[-1]:g}, a factor of {factor:g}" for b, (good, factor) in ranges.items()]
    first, *others = (factor for _, factor in ranges.values())
    return answered(f"{'yes' if first > max(others) else 'no'}: within {100 * lost:g} point, {'; '.join(texts)}")
