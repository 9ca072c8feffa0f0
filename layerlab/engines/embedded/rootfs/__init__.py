"""Work on root filesystems: mounting, copying into them, turning what changed into a layer.

Everything here runs in the worker process, inside its namespaces, and knows nothing of builds or caches.
"""
