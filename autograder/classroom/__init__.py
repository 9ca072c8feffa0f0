"""A whole class: who is graded when, and what is kept of it."""
