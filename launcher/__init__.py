"""What ``lab`` does itself: making .venv, running the tests, and two other things. Standard library only."""
