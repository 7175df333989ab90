"""The first report's settings of the toy functions with gradients by hand, beside the same runs with autograd."""

from functools import partial

from dlcourse.reports.page import Item
from dlcourse.studies.huji import toy_functions
from dlcourse.studies.runs import Runs
from dlcourse.studies.study import Study
from dlcourse.studies.twins import Part, measure_twins, together, twins_page

__all__ = ["beside_autograd", "measure", "together"]


def own_settings(study: Study, runs: Runs) -> list[Item]:
    note = (
        "Mean squared errors, ± over the convnet's starts and over orders of the linear model's examples. The penalty "
        "(λ/2)‖w‖² with λ = 0.1 is what the report adds to them. No model gets below the noise floor."
    )
    table = toy_functions.own_settings_table(study, runs, note)
    return [table, *toy_functions.own_settings_curves(study, runs)]


BLOCKS = {"first_linear": "linear model", "first_convnet": "convnet"}
PARTS = (Part("huji/toy_functions", "By hand", BLOCKS, items=own_settings),)
measure = partial(measure_twins, parts=PARTS)
beside_autograd = partial(twins_page, parts=PARTS)
