"""The verbs about images that are here: ``images``, ``inspect``, ``tag``, ``rmi``, ``history``, ``layers``, ``verify``, ``prune``."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

from layerlab.commands.common import add_engine, engine_of, for_each, note, print_answer, print_json
from layerlab.errors import UsageError

_DAMAGED = 1


def add(verbs: Any) -> None:
    """Declare the verbs."""
    images = verbs.add_parser("images", help="the images that are here")
    images.add_argument("-a", "--all", action="store_true", help="also results of builds without a tag")
    images.add_argument("-q", "--quiet", action="store_true", help="print IDs only")
    images.add_argument("--no-trunc", action="store_true", help="print IDs in full")
    add_engine(images)
    images.set_defaults(run=_images)

    inspect = verbs.add_parser("inspect", help="all that is known about images, as JSON")
    inspect.add_argument("image", nargs="+", metavar="IMAGE")
    add_engine(inspect)
    inspect.set_defaults(run=_inspect)

    tag = verbs.add_parser("tag", help="give an image another name")
    tag.add_argument("source", metavar="SOURCE")
    tag.add_argument("target", metavar="TARGET")
    add_engine(tag)
    tag.set_defaults(run=_tag)

    rmi = verbs.add_parser("rmi", help="take names away; layers stay until `prune`")
    rmi.add_argument("-f", "--force", action="store_true", help="also the last name of an image that a container is made of")
    rmi.add_argument("image", nargs="+", metavar="IMAGE")
    add_engine(rmi)
    rmi.set_defaults(run=_rmi)

    history = verbs.add_parser("history", help="the layers of an image, and the instructions that made them")
    history.add_argument("image", metavar="IMAGE")
    history.add_argument("--no-trunc", action="store_true", help="show instructions in full")
    add_engine(history)
    history.set_defaults(run=_history)

    layers = verbs.add_parser("layers", help="what each layer of an image added, changed and removed, and which bytes are wasted")
    layers.add_argument("image", metavar="IMAGE")
    layers.add_argument("--paths", action="store_true", help="list the paths, not only their number")
    layers.add_argument("--wasted", action="store_true", help="list the files that a later layer hides, the largest first")
    layers.add_argument("--path", metavar="PATH", help="say which layer this path of the merged view comes from")
    add_engine(layers)
    layers.set_defaults(run=_layers)

    verify = verbs.add_parser("verify", help="read every blob and layer of the store and compare with its digest")
    add_engine(verify)
    verify.set_defaults(run=_verify)

    prune = verbs.add_parser("prune", help="remove cached layers that no image needs, least recently used first, and unused blobs")
    prune.add_argument("--keep", default="0", metavar="SIZE", help="keep this much of the cache, e.g. 500MB (default: nothing)")
    add_engine(prune)
    prune.set_defaults(run=_prune)


def _images(arguments: argparse.Namespace) -> int:
    from layerlab.render import images_table

    with engine_of(arguments) as engine:
        found = engine.images(unnamed=arguments.all)
    if arguments.json:
        print_answer(engine, {"images": found})
    elif arguments.quiet:
        for row in found:
            print(row.id if arguments.no_trunc else row.id[7:19])
    else:
        print(images_table(found, full=arguments.no_trunc))
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    with engine_of(arguments) as engine:
        print_json([engine.inspect(image) for image in arguments.image])
    return 0


def _tag(arguments: argparse.Namespace) -> int:
    with engine_of(arguments) as engine:
        name = engine.tag(arguments.source, arguments.target)
    if arguments.json:
        print_answer(engine, {"tagged": name})
    return 0


def _rmi(arguments: argparse.Namespace) -> int:
    gone: list[str] = []
    with engine_of(arguments) as engine:

        def untag(image: str) -> None:
            name, last = engine.untag(image, force=arguments.force)
            gone.append(name)
            if not arguments.json:
                print(
                    f"Untagged: {name}" + (" (the image has no name left; `layerlab prune` removes its layers)" if last else ""), flush=True
                )

        for_each(arguments.image, untag)
    if arguments.json:
        print_answer(engine, {"untagged": gone})
    return 0


def _history(arguments: argparse.Namespace) -> int:
    from layerlab.render import history_table

    with engine_of(arguments) as engine:
        rows = engine.history(arguments.image)
        row = engine.image_row(arguments.image)
    if arguments.json:
        print_answer(engine, {"image": row.config, "stand_in": row.stand_in, "history": rows})
    else:
        print(history_table(rows, row.config, full=arguments.no_trunc, stream=sys.stdout))
        if row.stand_in:
            print(f"note: {row.stand_in}")
    return 0


def _layers(arguments: argparse.Namespace) -> int:
    from layerlab.render import layers_table

    with engine_of(arguments) as engine:
        view = engine.view(arguments.image, note)
    if arguments.path is not None:
        path = arguments.path.strip("/")
        if path not in view.origin:
            raise UsageError(
                f"/{path} is not in the merged view of {arguments.image}", remedy="It was never there, or a later layer hides it."
            )
        layer = view.layers[view.origin[path] - 1]
        if arguments.json:
            print_answer(engine, {"path": path, "layer": layer.number, "diff_id": layer.diff_id, "created_by": layer.created_by})
        else:
            print(f"/{path} comes from layer {layer.number}: {layer.created_by}")
        return 0
    if arguments.json:
        print_answer(engine, view)
    else:
        print(layers_table(view, paths=arguments.paths, wasted=arguments.wasted))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from layerlab.engines.connect import keeper_of

    with engine_of(arguments) as engine:
        found = keeper_of(engine).verify(note)
    if arguments.json:
        print_answer(engine, found)
    else:
        for damage in found.damaged:
            needed = ", ".join(damage.images) or "no named image"
            what = f"damaged: its content has the digest {damage.found}" if damage.found else "gone from the store, or not whole"
            print(f"{damage.what} {damage.digest} is {what}. Needed by: {needed}.")
        print(f"{found.blobs} blobs and {found.layers} layers were read; {len(found.damaged)} damaged.")
        if found.damaged:
            print("Build these images again with --no-cache, or load them again.")
    return _DAMAGED if found.damaged else 0


_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B?)", text.strip().upper())
    if match is None:
        raise UsageError(f"invalid size {text!r}", remedy="For example 500MB or 2GB.")
    unit = match[2] if match[2] in _UNITS else match[2] + "B"
    # More than any disk has is as good as all of it.
    return int(min(float(match[1]) * _UNITS[unit], 1e30))


def _prune(arguments: argparse.Namespace) -> int:
    from layerlab.engines.connect import keeper_of
    from layerlab.render import size

    keep = _size(arguments.keep)
    with engine_of(arguments) as engine:
        done = keeper_of(engine).prune(keep, note)
    if arguments.json:
        print_answer(engine, done)
    else:
        print(f"Removed {done.records} cache records and {done.layers} layers: {size(done.freed)}. {size(done.kept)} of layers are left.")
        if done.blobs:
            print(f"Removed {done.blobs} blobs that nothing needs: {size(done.blob_bytes)}.")
    return 0
