"""From a Dockerfile and a build context to verdicts: which step runs, which is cached, and why. Nothing is built here, and nothing is read
but what a context hands out.
"""
