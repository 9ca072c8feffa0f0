"""The checks of the rubric: functions from what was observed to a finding."""
