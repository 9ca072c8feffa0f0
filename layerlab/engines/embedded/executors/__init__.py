"""Executors: they run one command in one root filesystem and know nothing of builds, caches or layers."""
