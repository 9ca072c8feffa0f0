"""Engines: who builds and runs images. ``base`` has the interface, ``embedded`` our own engine."""
