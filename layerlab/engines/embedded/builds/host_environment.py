"""What RUN steps get from this machine without it being part of the image: the way to the network.

Behind a company proxy a build works only with the proxy variables and the company's certificates. Like Docker's predefined proxy
arguments they are given to the process, never to a cache key and never to the image. The certificates lie below ``/dev``,
which is made anew for every step, so nothing of them can end in a layer.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

CA_TARGET: Final = "/dev/.layerlab-ca-certificates.crt"

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_CA_VARIABLES: Final = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
_SYSTEM_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_PRISMA_ENGINES: Final = ("PRISMA_SCHEMA_ENGINE_BINARY", "PRISMA_QUERY_ENGINE_LIBRARY")
_PRISMA_NEWS: Final = "CHECKPOINT_DISABLE"
# Names of registries that an organisation mirrors; a lock file without addresses is served by any of them.
_MIRRORS: Final = ("npm_config_registry", "NPM_CONFIG_REGISTRY", "PIP_INDEX_URL")


def ca_bundle(environment: Mapping[str, str]) -> bytes | None:
    """The certificates that this machine trusts: what the user chose, else the system's bundle; of those that can be read."""
    chosen = [environment[name] for name in _CA_VARIABLES if environment.get(name)]
    for path in (*chosen, *_SYSTEM_BUNDLES):
        with contextlib.suppress(OSError):
            if os.path.isfile(path):
                return Path(path).read_bytes()
    return None


def proxy_arguments(build_args: Mapping[str, str]) -> dict[str, str]:
    """Variables of a build's own proxy arguments, which every RUN has, outside every key.

    One in whatever spelling sets two variables (BuildKit ``proxyEnvFromBuildArgs``).
    """
    found: dict[str, str] = {}
    for name in _PROXIES:
        for value in (value for key, value in build_args.items() if key.upper() == name and value):
            found.update({name: value, name.lower(): value})
    return found


def ambient_environment(environment: Mapping[str, str], build_args: Mapping[str, str], *, bundle: bool, offline: bool) -> dict[str, str]:
    """Variables for RUN steps that stand outside every key.

    ``bundle`` says that ``CA_TARGET`` is there. ``offline``: Prisma tries to download engines that the app does not use, several
    times over, unless these variables name an existing file, and each of its commands leaves a process behind that asks for news.
    """
    found: dict[str, str] = {}
    for name in _PROXIES:
        if name in {key.upper() for key in build_args}:
            continue
        found.update((spelling, environment[spelling]) for spelling in (name, name.lower()) if environment.get(spelling))
    found.update(proxy_arguments(build_args))
    for name in _MIRRORS:
        if environment.get(name):
            found[name] = environment[name]
    if bundle:
        found.update(dict.fromkeys(_CA_VARIABLES, CA_TARGET))
    if offline:
        # Asked for its version it ends at once, whatever its tools are; BusyBox's shell would wait for commands.
        found.update(dict.fromkeys(_PRISMA_ENGINES, "/bin/true"))
        found[_PRISMA_NEWS] = "1"
    return found
