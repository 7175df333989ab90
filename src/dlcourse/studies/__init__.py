"""A module a course: tables, figures and checks of its claims. study.py reads conf/study/, runner.py runs it.

`python -m dlcourse.train study=COURSE/NAME` runs what is missing and writes the report.
"""
