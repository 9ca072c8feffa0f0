"""Where submissions are graded: in processes of this machine, or on a Dask cluster. Each submission in a process of its own."""
