"""Verdicts of every step of many small builds, compared with what a real Docker Engine decided.

``cases/`` holds the scenarios and the recorded answers; ``README.md`` has their format and how to add one.
"""
