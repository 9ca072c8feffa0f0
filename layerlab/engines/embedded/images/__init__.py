"""Images of the store: what can be asked of them, base images from wherever they come, archives, and what goes to a registry."""
