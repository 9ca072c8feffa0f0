"""What a step is for is told by its files."""

from __future__ import annotations

import pytest

from autograder.roles import roles_of
from layerlab.engines.embedded.rootfs.layer_tar import LayerEntry

DEPENDENCIES = frozenset({"express", "@prisma/client"})


def entry(path: str, kind: str = "file", size: int = 1) -> LayerEntry:
    """One member of a layer."""
    return LayerEntry(path=path, type=kind, mode=0o644, size=size)


INSTALLED = ("srv/node_modules/express/package.json", "srv/node_modules/@prisma/client/package.json")
COMPILED = ("a/out/index.js", "a/out/routes.js", "a/out/visits.js")


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (INSTALLED, {"install"}),
        (INSTALLED[:1], set()),
        (("x/express/package.json", "x/@prisma/client/package.json"), {"install"}),
        (("a/express/package.json", "b/@prisma/client/package.json"), set()),
        (("srv/node_modules/.prisma/client/schema.prisma",), {"generate"}),
        (("srv/node_modules/.prisma/client/default.js",), set()),
        (COMPILED, {"build"}),
        (COMPILED[:2], set()),
        (tuple(f"node_modules/x/{name}" for name in ("index.js", "routes.js", "visits.js")), set()),
        ((*INSTALLED, *COMPILED), {"install", "build"}),
        ((), set()),
    ],
)
def test_roles(paths: tuple[str, ...], expected: set[str]) -> None:
    """By the folder that files stand in together, whatever it is called."""
    assert roles_of(map(entry, paths), DEPENDENCIES)[0] == expected


def test_what_is_hidden_makes_no_role() -> None:
    """Removing packages is not installing them."""
    assert roles_of((entry(path, "whiteout") for path in (*INSTALLED, *COMPILED)), DEPENDENCIES)[0] == frozenset()


def test_linked_packages_count() -> None:
    """As pnpm has them."""
    links = (entry("n/express", "symlink"), entry("n/@prisma/client", "symlink"))
    assert roles_of(links, DEPENDENCIES)[0] == {"install"}


def test_an_installation_may_leave_packages_out() -> None:
    """What only the build needs is often left out for the image. Most is enough, half is not."""
    four = frozenset({*DEPENDENCIES, "prisma", "adapter"})
    paths = ("n/express/package.json", "n/@prisma/client/package.json", "n/adapter/package.json")
    assert roles_of(map(entry, paths), four)[0] == {"install"}
    assert roles_of(map(entry, paths[:2]), four)[0] == frozenset()
    assert roles_of((), frozenset())[0] == frozenset()
