"""Data sets as tensors: a reader for each, one DataModule for all. Knows nothing of networks.

`python -m dlcourse.data list|fetch|verify` says what is there.
"""
