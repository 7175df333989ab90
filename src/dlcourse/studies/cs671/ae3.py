"""Question 2b: autoencoders with three hidden layers."""

from dlcourse.studies.cs671.codes import derive, measure

__all__ = ["derive", "measure"]
