"""A Binder image without Binder: what ``binder/`` says, installed in the order of repo2docker 2026.4 on a root filesystem of packages.

The same as there: the user with id 1000, whose home is the folder of the repository, ``apt.txt`` by apt, ``requirements.txt`` by pip
without a cache, ``postBuild`` as the user, ``start`` as entry point. Different: the base is Debian bookworm made by debootstrap (its Python
is 3.11, its proot 5.1.0) and not Ubuntu 24.04's ``buildpack-deps``, an image that no package registry has; Python is Debian's in a virtual
environment and not conda's, and the notebook server that repo2docker puts in first is not there.

What takes long is kept outside the repository under the digest of what it is made of, so a second run loads it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
KEPT: Final = Path(os.environ.get("TMPDIR") or "/var/tmp") / "layerlab-binder"
HOME: Final = "/home/jovyan"
_RELEASE: Final = "bookworm"
_PYTHON: Final = "3.11"
_PACKAGES: Final = "python3,python3-venv,ca-certificates"
_BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"
# The way to the registries of a company's network; certificates have another path in the image.
_CERTIFICATES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE")
_WAYS: Final = re.compile(r"(?i)(?:https?|no|all)_proxy|pip_(?:index_url|extra_index_url)|npm_config_registry")

_PINS: Final = """\
FROM {base}
COPY bundle.crt {bundle}
ENV DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 SHELL=/bin/bash USER=jovyan HOME={home} REPO_DIR={home}
ENV {certificates}
RUN useradd --uid 1000 --create-home --shell /bin/bash jovyan && mkdir /srv/env && chown jovyan:jovyan /srv/env
RUN apt-get -qq update && apt-get -qq install --yes --no-install-recommends {packages} && apt-get -qq clean && rm -rf /var/lib/apt/lists/*
ENV PATH=/srv/env/bin:{home}/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER jovyan
WORKDIR {home}
RUN python3 -m venv /srv/env
COPY --chown=1000:1000 repository/ {home}/
RUN /srv/env/bin/pip install --no-cache-dir --progress-bar off -r binder/requirements.txt
"""
_WHOLE: Final = """\
FROM {base}
COPY --chown=1000:1000 repository/ {home}/
RUN /srv/env/bin/pip install --no-cache-dir --progress-bar off -r binder/requirements.txt
RUN chmod +x binder/postBuild && ./binder/postBuild
RUN chmod +x binder/start
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["{home}/binder/start"]
CMD ["jupyter", "lab", "--ip", "0.0.0.0"]
"""


class MissingError(Exception):
    """The image cannot be made here; the text says why."""


def ways() -> dict[str, str]:
    """Variables of this machine that lead to the package registries."""
    return {name: value for name, value in os.environ.items() if _WAYS.fullmatch(name)}


def apt_packages() -> list[str]:
    """The packages of ``apt.txt``, read as repo2docker reads it."""
    lines = (ROOT / "binder" / "apt.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def build(name: str) -> None:
    """Make the image and give it ``name``. Raises ``MissingError`` where packages cannot be had, ``CalledProcessError``."""
    wanted = (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    if wanted != f"python-{_PYTHON}":
        raise MissingError(f"binder/runtime.txt wants {wanted}; the packages of {_RELEASE} have Python {_PYTHON}")
    pins = _pins()
    with tempfile.TemporaryDirectory() as place:
        for path in _tracked():
            _copy(path, Path(place, "repository", path))
        _build(name, _WHOLE.format(base=pins, home=HOME), Path(place))


def _pins() -> str:
    """The image with everything but the repository, built or loaded."""
    files = ("binder/requirements.txt", "requirements.txt", "constraints.txt")
    certificates = " ".join(f"{variable}={_BUNDLE}" for variable in _CERTIFICATES)
    recipe = _PINS.format(
        base="base", bundle=_BUNDLE, home=HOME, certificates=certificates, packages=" ".join(apt_packages()) or "ca-certificates"
    )
    bundle = Path(os.environ.get("SSL_CERT_FILE") or _BUNDLE).read_bytes()
    digest = hashlib.sha256(
        b"\0".join([_RELEASE.encode(), _PACKAGES.encode(), recipe.encode(), bundle, *((ROOT / f).read_bytes() for f in files)])
    )
    name = f"layerlab-binder-pins:{digest.hexdigest()[:12]}"
    archive = KEPT / f"{name.replace(':', '-')}.tar"
    if subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode == 0:
        return name
    if archive.exists():
        subprocess.run(["docker", "load", "--quiet", "--input", str(archive)], stdout=subprocess.DEVNULL, check=True)
        return name
    with tempfile.TemporaryDirectory() as place:
        Path(place, "bundle.crt").write_bytes(bundle)
        for file in files:
            _copy(file, Path(place, "repository", file))
        _build(name, recipe.replace("FROM base", f"FROM {_base()}"), Path(place))
    for old in KEPT.glob("layerlab-binder-pins-*.tar"):
        old.unlink()
    subprocess.run(["docker", "save", "--output", f"{archive}.part", name], check=True)
    os.rename(f"{archive}.part", archive)
    return name


def _own(directory: Path) -> None:
    """Everybody can reckon its name, and what is in it is run by root: it must have been made by this user."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise OSError(f"{directory} is not a directory of this user that only this user can write to: remove it, or set TMPDIR")


def _base() -> str:
    """The root filesystem, made by debootstrap and imported."""
    name = f"layerlab-binder-base:{_RELEASE}"
    root = KEPT / _RELEASE
    _own(KEPT)
    if not (root / "made").exists():
        if shutil.which("debootstrap") is None or os.getuid() != 0:
            raise MissingError("a root filesystem needs root and debootstrap (apt-get install debootstrap)")
        found = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)"], capture_output=True, text=True, check=False)
        mirror = next(iter(found.stdout.split()), "")
        shutil.rmtree(root, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _RELEASE, str(root), *filter(None, [mirror])]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=2700)
        if done.returncode != 0:
            raise MissingError(f"debootstrap failed: {done.stdout.strip()[-300:]}")
        (root / "made").touch()
    tar = subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE)
    subprocess.run(["docker", "import", "-", name], stdin=tar.stdout, stdout=subprocess.DEVNULL, check=True)
    if tar.wait() != 0:
        raise MissingError("the root filesystem cannot be read")
    return name


def _tracked() -> Iterator[str]:
    """What a clone has, with what is about to be committed."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, os.fsdecode(done.stdout).split("\0")):
        if (ROOT / name).is_file():
            yield name


def _copy(name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(ROOT / name, target)


def _build(name: str, recipe: str, context: Path) -> None:
    (context / "Dockerfile").write_text(recipe, encoding="utf-8")
    arguments = [word for key, value in ways().items() for word in ("--build-arg", f"{key}={value}")]
    # Some of these are no arguments that Docker knows by itself.
    declared = "".join(f"ARG {key}\n" for key in ways() if not key.lower().endswith("_proxy"))
    (context / "Dockerfile").write_text(recipe.replace("\n", f"\n{declared}", 1), encoding="utf-8")
    command = ["docker", "build", "--progress=plain", "--tag", name, *arguments, str(context)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=1500)
    if done.returncode != 0:
        raise RuntimeError(f"docker build of {name} failed:\n{done.stdout[-6000:]}")
