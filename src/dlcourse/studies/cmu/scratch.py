"""Questions 2, 3 and 5 with gradients by hand, beside the same runs with autograd."""

from functools import partial

from pandas import DataFrame

from dlcourse.scratch import gradient_check, softmax_cross_entropy, summed
from dlcourse.studies.cmu import q2_toy
from dlcourse.studies.runs import Runs
from dlcourse.studies.study import Study
from dlcourse.studies.twins import Part, measure_twins, together, twins_page
from dlcourse.tasks.scratch import by_hand

__all__ = ["beside_autograd", "measure", "together"]


def measure_toy(study: Study, runs: Runs) -> DataFrame:
    """As question 2's own; the gradients that are checked are those by hand."""
    rows = []
    for hash_, run in zip(runs.done()["hash"], runs.done()["run"], strict=True):
        net, x, y = q2_toy.initial_network(run)
        sums = gradient_check(by_hand(net), summed(softmax_cross_entropy), x.numpy(), y.numpy())
        errors = dict(zip(q2_toy.PARAMETERS, sums, strict=True)) | {"total": sum(sums)}
        rows.append({"hash": hash_} | {f"gradient error {name}": error for name, error in errors.items()})
    errors_by_hand = DataFrame(rows)
    return q2_toy.measure(study, runs).drop(columns=errors_by_hand.columns[1:]).merge(errors_by_hand, on="hash")


PARTS = (
    Part("cmu/q2_toy", "Question 2 by hand", {"net": "question 2, clusters"}, measure_toy),
    Part("cmu/q3", "Question 3 by hand", {"rates": "question 3, NIST36"}),
    Part("cmu/q5", "Question 5 by hand", {"report": "question 5, autoencoder"}),
)
measure = partial(measure_twins, parts=PARTS)
beside_autograd = partial(twins_page, parts=PARTS)
