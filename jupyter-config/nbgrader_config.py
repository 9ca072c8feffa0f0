"""nbgrader's settings for those who learn: ``./lab`` puts this folder on Jupyter's configuration path, and Validate reads it there."""

c = get_config()  # noqa: F821 - given by traitlets

# Validate runs the checks in a kernel. A check builds an image: the first one installs packages.
c.Execute.timeout = 900
