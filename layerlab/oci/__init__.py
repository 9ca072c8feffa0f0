"""The formats in which images are kept and moved (OCI image and distribution specifications); a registry's client. No engine is in it."""
