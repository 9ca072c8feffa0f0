"""The Docker engine: builds, images and containers of a Docker daemon, with our reasons for its verdicts."""
