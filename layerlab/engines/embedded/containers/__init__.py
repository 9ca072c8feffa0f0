"""Containers: what is kept of them, what runs in them, and the shim, a process of its own for each that stays."""
