"""Question 2a: autoencoders with one hidden layer."""

from dlcourse.studies.cs671.codes import derive, measure

__all__ = ["derive", "measure"]
