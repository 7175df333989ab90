"""All three tasks with gradients by hand, beside the same runs with autograd."""

from functools import partial

from dlcourse.studies.twins import Part, measure_twins, together, twins_page

__all__ = ["beside_autograd", "measure", "together"]

PARTS = (
    Part(
        "ntnu/logistic",
        "Logistic regression by hand (task 2)",
        {"unshuffled": "logistic, fixed order", "shuffled": "logistic, shuffled"},
    ),
    Part("ntnu/softmax", "Softmax regression by hand (task 3)", {"long": "softmax"}),
    Part("ntnu/l2", "With a penalty, by hand (task 4)", {"sweep": "softmax with a penalty"}),
)
measure = partial(measure_twins, parts=PARTS)
beside_autograd = partial(twins_page, parts=PARTS)
