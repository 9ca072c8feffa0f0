"""The embedded engine: rootless, daemonless, with BuildKit's cache verdicts."""
