"""Logins of Docker's configuration file, for the registry that they were made for."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess

from layerlab.oci.references import DOCKER_HUB


def credentials(registry: str) -> tuple[str, str]:
    """(user, secret) for a registry from Docker's configuration file, or two empty strings."""
    directory = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    try:
        with open(os.path.join(directory, "config.json"), "rb") as stream:
            config = json.load(stream)
    except (OSError, ValueError):
        return "", ""
    names = [registry, f"https://{registry}"]
    if registry == DOCKER_HUB:
        names = ["https://index.docker.io/v1/", "index.docker.io", *names]
    try:
        for name in names:
            helper = (config.get("credHelpers") or {}).get(name) or config.get("credsStore")
            if helper:
                found = _ask_helper(helper, name)
                if found[0]:
                    return found
            entry = (config.get("auths") or {}).get(name) or {}
            if entry.get("auth"):
                user, _, secret = base64.b64decode(entry["auth"]).decode("utf-8", "replace").partition(":")
                return user, secret.rstrip("\0")
    except (AttributeError, TypeError, ValueError):
        # Somebody wrote something else there: as good as no login.
        return "", ""
    return "", ""


def _ask_helper(helper: str, name: str) -> tuple[str, str]:
    if re.fullmatch(r"[\w.-]+", helper) is None:
        return "", ""
    try:
        done = subprocess.run([f"docker-credential-{helper}", "get"], input=name, capture_output=True, text=True, timeout=30, check=False)
        answer = json.loads(done.stdout) if done.returncode == 0 else {}
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return "", ""
    return answer.get("Username", ""), answer.get("Secret", "")
