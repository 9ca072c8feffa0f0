"""Builds drawn at random, by two engines or in two modes side by side: they must agree.

``python -m tests.differential`` asks a Docker daemon, ``python -m tests.differential.modes`` asks the embedded engine alone.
"""
