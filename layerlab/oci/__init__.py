"""The formats in which images are kept and moved (OCI image and distribution specifications), and a registry's client; no engine is here."""
