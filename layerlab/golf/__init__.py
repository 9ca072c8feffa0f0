"""Cache golf: the lines of a Dockerfile in the order that rebuilds least.

A level (``level``, a JSON file) has lines, edits with weights, and what each command reads, makes and takes. ``simulation`` plays a build
of it: the solver's own keys decide, only that no command runs. ``scoring`` adds up the seconds that the edits cost, ``par`` proves the
least that any order costs, and ``hints`` names causes. Nothing here touches a disk or an engine but for reading levels.
"""
