"""Linear network, MLP and convnet on MNIST, in both reports' settings."""

from pandas import DataFrame

from dlcourse.studies.checks import check
from dlcourse.studies.samples import BETTER, aggregate, compare, format_metric
from dlcourse.studies.verdict import Verdict, answered

REPORTS = ("first", "second")
NETWORKS = {"convnet": "convnet", "mlp": "MLP", "linear": "linear network"}


@check
def ranking(table: DataFrame) -> Verdict:
    """Whether each network is better than the next, in accuracy and loss of the test set, by more than the noise."""
    texts = []
    for report in REPORTS:
        for metric in ("accuracy", "loss"):
            name = f"test/{metric}"
            best, middle, last = (aggregate(table, name, {"block": f"{n}_{report}"}, complete=True) for n in NETWORKS)
            holds = compare(best, middle, name) == compare(middle, last, name) == BETTER
            listed = ", ".join(format_metric(name, s) for s in (best, middle, last))
            texts.append(f"{report} report, {metric}: {'yes' if holds else 'no'}, {listed}")
    return answered("; ".join(texts))


@check
def targets(table: DataFrame, **least: float) -> Verdict:
    """least: the mean test accuracy that each network should reach."""
    texts = []
    for network, target in least.items():
        found = []
        for report in REPORTS:
            sample = aggregate(table, "test/accuracy", {"block": f"{network}_{report}"}, complete=True)
            reached = "yes" if sample.mean >= target else "no"
            found.append(f"{format_metric('test/accuracy', sample)} ({report}, {reached})")
        texts.append(f"{NETWORKS[network]} {' and '.join(found)}")
    return answered("; ".join(texts))
