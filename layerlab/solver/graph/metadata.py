"""Instructions that make no layer, and WORKDIR: what they do to the image's configuration and to the variables behind them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any, Final

from layerlab.dockerfile import expand_words, parse_duration
from layerlab.dockerfile.ast import Instruction
from layerlab.dockerfile.chars import quoted_rune
from layerlab.errors import DockerfileError
from layerlab.solver.graph.expose import ports_of
from layerlab.solver.graph.normalize import clean, go_duration, go_list, normal_owner, upper_keyword
from layerlab.solver.graph.run import DEFAULT_SHELL
from layerlab.solver.graph.scope import Lowered, Scope, StageState
from layerlab.solver.ops import MkdirOp

# ARG makes no variable of these (``nonEnvArgs``).
_NO_VARIABLES: Final = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")
_SIGNALS: Final = frozenset(
    (
        *("ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF"),
        *("PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1"),
        *("USR2", "VTALRM", "WINCH", "XCPU", "XFSZ"),
    )
)


def lower_workdir(scope: Scope, state: StageState, at: Instruction) -> Lowered:
    """Raises ``DockerfileError``."""
    current = state.image.get("WorkingDir") or "/"
    # system.NormalizeWorkdir: an absolute path stays as written, a relative one is joined and cleaned, none is the current one.
    path = scope.expand(at.args[0], state.env, at) or current
    cwd = path if path.startswith("/") else clean(posixpath.join("/", current, path))
    state.image["WorkingDir"] = cwd
    name = scope.printed(state, at)
    # As written: /. is a step that makes nothing.
    if cwd == "/":
        return Lowered(name, None, "WORKDIR /")
    made = MkdirOp(path=clean(cwd), owner=normal_owner(state.image.get("User") or ""), created=scope.epoch)
    return Lowered(name, made, f"WORKDIR {cwd}")


def _env(scope: Scope, state: StageState, at: Instruction) -> Lowered:
    # None of them sees another one of its line.
    pairs = [(scope.expand(key, state.env, at), scope.expand(value or "", state.env, at)) for key, value in at.pairs]
    shown = []
    for name, text in pairs:
        state.set_env(name, text, argument=False)
        item = f"{name}={text}"
        state.put_image_env(name.partition("=")[0], item)
        shown.append(item)
    return Lowered(scope.printed(state, at), None, "ENV " + " ".join(shown))


def _label(scope: Scope, state: StageState, at: Instruction) -> Lowered:
    labels = state.image.get("Labels") or {}
    state.image["Labels"] = labels
    shown = []
    for key, value in at.pairs:
        name, text = scope.expand(key, state.env, at), scope.expand(value or "", state.env, at)
        labels[name] = text
        shown.append(f"{name}={text}")
    return Lowered(scope.printed(state, at), None, "LABEL " + " ".join(shown))


def _arg(scope: Scope, state: StageState, at: Instruction) -> Lowered:
    shown = []
    for key, default in at.pairs:
        value: str | None
        if key in scope.build_args:
            scope.used_args.add(key)
            value = scope.build_args[key]
        elif default is not None:
            value = scope.expand(default, state.env, at)
        else:
            value = scope.globals.get(key)
        if value is not None and key not in _NO_VARIABLES:
            state.set_env(key, value, argument=True)
        state.arguments[key] = value or ""
        shown.append(key if value is None else f"{key}={value}")
    return Lowered(upper_keyword(at.original), None, "ARG " + " ".join(shown))


def _cmd(_scope: Scope, state: StageState, at: Instruction) -> Lowered:
    argv = _command(state, at)
    state.image["Cmd"] = argv
    # BuildKit sets it with every CMD; images compare equal only with it.
    state.image["ArgsEscaped"] = True
    state.cmd_set = True
    return Lowered(upper_keyword(at.original), None, f"CMD {go_list(argv)}")


def _entrypoint(_scope: Scope, state: StageState, at: Instruction) -> Lowered:
    argv = _command(state, at)
    state.image["Entrypoint"] = argv
    if not state.cmd_set:
        state.image.pop("Cmd", None)
    return Lowered(upper_keyword(at.original), None, f"ENTRYPOINT {go_list(argv)}")


def _command(state: StageState, at: Instruction) -> list[str]:
    if at.form == "exec":
        return list(at.args)
    return [*(state.image.get("Shell") or DEFAULT_SHELL), *at.args]


def _expose(scope: Scope, state: StageState, at: Instruction) -> Lowered:
    ports: list[str] = []
    # ``parseExpose`` sorts what is written.
    for word in sorted(at.args):
        try:
            pieces = expand_words(word, state.env, escape=scope.dockerfile.escape, allowance=scope.allowance)
        except DockerfileError as error:
            raise scope.error(at, error.message, error.remedy) from error
        for piece in pieces:
            found = ports_of(scope, piece, at)
            scope.take(sum(map(len, found)), at)
            ports += found
    exposed = state.image.get("ExposedPorts") or {}
    exposed.update((port, {}) for port in ports)
    state.image["ExposedPorts"] = exposed
    return Lowered(scope.printed(state, at), None, f"EXPOSE [{' '.join(ports)}]")


def _user(scope: Scope, state: StageState, at: Instruction) -> Lowered:
    user = scope.expand(at.args[0], state.env, at)
    state.image["User"] = user
    return Lowered(scope.printed(state, at), None, f"USER {user}")


def _volume(scope: Scope, state: StageState, at: Instruction) -> Lowered:
    words = [scope.expand(word, state.env, at) for word in at.args]
    if not all(words):
        raise scope.error(at, "VOLUME specified can not be an empty string")
    volumes = state.image.get("Volumes") or {}
    volumes.update({word: {} for word in words})
    state.image["Volumes"] = volumes
    return Lowered(scope.printed(state, at), None, f"VOLUME [{' '.join(words)}]")


def _stopsignal(scope: Scope, state: StageState, at: Instruction) -> Lowered:
    signal = scope.expand(at.args[0], state.env, at)
    if not _is_signal(signal):
        raise scope.error(at, f"invalid signal: {signal}", "For example STOPSIGNAL SIGTERM.")
    state.image["StopSignal"] = signal
    return Lowered(scope.printed(state, at), None, f"STOPSIGNAL {signal}")


def _shell(_scope: Scope, state: StageState, at: Instruction) -> Lowered:
    state.image["Shell"] = list(at.args)
    return Lowered(upper_keyword(at.original), None, f"SHELL [{' '.join(at.args)}]")


def _maintainer(_scope: Scope, state: StageState, at: Instruction) -> Lowered:
    state.config["author"] = at.args[0]
    return Lowered(upper_keyword(at.original), None, f"MAINTAINER {at.args[0]}")


def _onbuild(_scope: Scope, state: StageState, at: Instruction) -> Lowered:
    state.image.setdefault("OnBuild", []).append(at.args[0])
    return Lowered(upper_keyword(at.original), None, None)


def _healthcheck(_scope: Scope, state: StageState, at: Instruction) -> Lowered:
    times = {name: parse_duration(at.flag(name) or "0s") for name in ("interval", "timeout", "start-period", "start-interval")}
    retries = int(at.flag("retries") or "0")
    if at.args[0] == "NONE":
        test = ["NONE"]
    elif at.form == "exec":
        test = ["CMD", *at.args[1:]]
    else:
        test = ["CMD-SHELL", *at.args[1:]]
    check: dict[str, Any] = {"Test": test}
    for key, name in (
        ("Interval", "interval"),
        ("Timeout", "timeout"),
        ("StartPeriod", "start-period"),
        ("StartInterval", "start-interval"),
    ):
        if times[name]:
            check[key] = times[name]
    if retries:
        check["Retries"] = retries
    state.image["Healthcheck"] = check
    shown = " ".join(f'"{go_duration(times[name])}"' for name in ("interval", "timeout", "start-period", "start-interval"))
    return Lowered(upper_keyword(at.original), None, f"HEALTHCHECK &{{{go_list(test)} {shown} {quoted_rune(retries)}}}")


def _is_signal(text: str) -> bool:
    """``ParseSignal`` of moby/sys/signal: any number but 0, or a name of Linux with or without ``SIG``, in any case."""
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return bool(text.strip("-+0"))
    name = text.upper().removeprefix("SIG")
    distance = re.fullmatch(r"RTMIN\+([1-9][0-9]?)|RTMAX-([1-9][0-9]?)", name)
    if distance is not None:
        return int(distance[1] or 0) <= 15 and int(distance[2] or 0) <= 14
    return name in _SIGNALS


METADATA: Final[dict[str, Callable[[Scope, StageState, Instruction], Lowered]]] = {
    "ENV": _env,
    "LABEL": _label,
    "ARG": _arg,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "EXPOSE": _expose,
    "USER": _user,
    "VOLUME": _volume,
    "STOPSIGNAL": _stopsignal,
    "SHELL": _shell,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "HEALTHCHECK": _healthcheck,
}
