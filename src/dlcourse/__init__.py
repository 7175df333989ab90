"""Five deep-learning course reports, run again: `python -m dlcourse.train`, then `evaluate`, `resume`, `predict`."""

__version__ = "0.1.0"
