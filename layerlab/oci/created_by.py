"""The instruction behind a layer, from ``created_by`` of an image's history (OCI image specification, ``config.md``)."""

from __future__ import annotations

from layerlab.control_characters import without_controls


def instruction_of(created_by: str) -> str:
    """The instruction, on one line, without what the builder wrote around it: BuildKit's mark, the classic builder's shell."""
    text = " ".join(without_controls(created_by).split())
    text = text.removesuffix("# buildkit").strip().removeprefix("/bin/sh -c #(nop)").strip()
    return text.replace("RUN /bin/sh -c ", "RUN ", 1) or "(no instruction is recorded)"
