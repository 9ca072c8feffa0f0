"""The verbs of the command line, a module for each group. Each turns arguments into a call and a record into text or JSON."""
