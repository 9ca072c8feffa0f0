"""Binder: the files in ``binder/``, and a container like one of Binder's with the whole course in it."""
