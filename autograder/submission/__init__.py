"""A notebook read as data, and the record of what grading found."""
