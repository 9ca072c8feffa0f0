"""Publishing: from the record of grading to nbgrader's gradebook, feedback and grades.

``rebuild`` makes the notebook that nbgrader gets to see, from the trusted source, the collected answers and the record. ``publisher``
hands it to nbgrader after ``grade``; ``exporter`` does so inside a plain ``nbgrader autograde``. ``gradebook_rows`` has what a row may say,
``grades`` the CSV. Nothing here executes a notebook, and nothing computes a score.
"""
