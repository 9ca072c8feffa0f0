"""Running what a student wrote: the sandbox, its limits, the clock, and asking what runs in it. No points are given here."""
