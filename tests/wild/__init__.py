"""Dockerfiles from the wild: what layerlab says of public repositories, and whether Docker says so, too.

``repositories.txt`` names the repositories, ``__main__`` is the command. Nothing of theirs is kept here, and no RUN is ever executed.
"""
