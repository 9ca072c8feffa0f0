"""What the engine knows of one ecosystem, Node and npm: a stand-in for its base image, its cache, and what its failures mean."""
