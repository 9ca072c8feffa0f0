"""A Dockerfile resolved into operations: ``build_graph`` makes the ``Graph`` of a build.

``builder`` goes through the stages, ``stages`` says which are needed; ``run``, ``copy`` and ``metadata`` say what an instruction becomes.
"""

from layerlab.solver.graph.builder import PREDEFINED_ARGUMENTS, build_graph, opaque
from layerlab.solver.graph.model import EPOCH, HISTORY_COMMENT, NEWEST, Graph, GraphStage, Like, Remote, Resolve, Step
from layerlab.solver.graph.run import DEFAULT_SHELL, SCRIPTS
from layerlab.solver.graph.scope import Observer, Variables

__all__ = [
    "DEFAULT_SHELL",
    "EPOCH",
    "HISTORY_COMMENT",
    "NEWEST",
    "PREDEFINED_ARGUMENTS",
    "SCRIPTS",
    "Graph",
    "GraphStage",
    "Like",
    "Observer",
    "Remote",
    "Resolve",
    "Step",
    "Variables",
    "build_graph",
    "opaque",
]
