"""Questions 6.1.1 and 6.1.2: a fully connected network and a convnet in PyTorch."""

from pandas import DataFrame

from dlcourse.studies.checks import check
from dlcourse.studies.samples import BETTER, Of, aggregate, compare, format_metric, metric_label
from dlcourse.studies.verdict import Verdict, answered


@check
def weak_opponent(table: DataFrame, metric: str, net: Of, weak: Of, strong: Of) -> Verdict:
    """How a network's lead shrinks if its opponent is another one."""
    best, poor, good = (aggregate(table, metric, of) for of in (net, weak, strong))
    leads = [100 * (best.mean - s.mean) for s in (poor, good)]
    return answered(
        f"{'yes' if compare(best, good, metric) == BETTER else 'no'}: {metric_label(metric)} "
        f"{format_metric(metric, best)} leads 6.1.1's {format_metric(metric, poor)} by {leads[0]:.1f} points, "
        f"question 3's {format_metric(metric, good)} by {leads[1]:.1f}"
    )
