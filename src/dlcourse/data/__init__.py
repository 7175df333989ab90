"""Data sets as tensors: a reader for each, one DataModule for all. Nothing here knows about networks.

`python -m dlcourse.data list|fetch|verify` shows, downloads and checks them.
"""
