"""Engines: who builds and runs images. ``api`` has the interface, ``embedded`` our own engine."""
