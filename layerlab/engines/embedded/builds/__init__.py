"""One build: the loop that decides and runs, how a step runs, and how its layer gets its name."""
