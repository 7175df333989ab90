"""What the reports state and prove, as small functions that try it on random numbers: a module a course, NumPy only."""

from dlcourse.theory.statement import Finding, Row, Statement, decide, of

__all__ = ["Finding", "Row", "Statement", "decide", "of"]
