"""Grades exercises on image layers: collect a submission, grade it with the embedded engine, record the result.

The verdict comes from the engine's own records. Nothing of a student's is imported or executed in the grader's processes, and
``layerlab`` knows nothing of this package.
"""
