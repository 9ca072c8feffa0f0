"""The course as the command line tells it: the demo, the working copy of the app, and what is fetched for machines without a network."""
