"""What an exercise is: the assignment, its starters, and the edits that are drawn for it."""
