"""The class report: a page for the class and one for each student, made of a record, safe to open and to mail."""
