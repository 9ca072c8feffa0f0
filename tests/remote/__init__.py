"""ADD from web servers: a server on loopback, and one table of what comes of it on either engine."""
