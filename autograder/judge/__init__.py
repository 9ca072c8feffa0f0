"""One answer: what it does when it is built and run, and what that is worth."""
