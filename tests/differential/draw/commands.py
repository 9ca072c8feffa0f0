"""RUN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .copies import closing
from .dice import Dice

_COMMANDS: Final = (
    *(
        "true",
        "echo $V > /o",
        "echo ${V:-none}-$A > /o",
        "pwd > /o",
        "id -u > /o",
        "ls > /l",
        "ls /app > /l || true",
        "cat /x > /o || true",
    ),
    *("mkdir -p /m/n && echo $A > /m/n/f", "rm -rf /x", "rm -f /d/e/f /o", "ln -sfn /d /ln", "ln -sfn /app /ln", "chmod 700 /x || true"),
    *("find /app /d /x -type f 2>/dev/null | sort > /list", "echo more >> /o", "printenv A > /o; true", "touch /tmp/t || true"),
    *("mv /x /y || true", "umask > /o", "mkdir -p /app/src && echo new > /app/src/index.ts", "rm -rf /app/src && mkdir -p /app/src"),
    *("false || echo $SHELL > /o", "test ! -e /x && echo gone > /o || true", "cp -r /app /copy || true", "printf '%s' \"$0\" > /o"),
    *("echo a  b   c > /o", "ln -f /o /hard || true"),
)
_MORE_COMMANDS: Final = (
    *(
        "find / -xdev -newer /etc/hosts -type d 2>/dev/null | grep -v proc | sort > /list; true",
        "rm -f /etc/hostname; rm -rf /var",
        "exit 0",
    ),
    *(
        "stat -c '%a %u %g' /app /d /x > /o 2>/dev/null; true",
        "mkdir -p /s && chmod 2775 /s && touch /s/f",
        "rm -rf /d && mkdir /d",
    ),
    *("env | grep -v -e HOSTNAME -e SHLVL | sort > /o", "mkdir -p /app && chmod 700 /app", "mkfifo /fifo || true", "cp -a /etc/passwd /p"),
)
_MOUNTS: Final = (
    *("type=bind,target=/in", "type=bind,source=a,target=/in", "source=a,target=/in/a", "type=bind,source=a,target=package.json"),
    *("type=cache,target=/cache", "type=cache,target=/cache,id=other", "type=cache,target=/cache,sharing=locked"),
    *("type=tmpfs,target=/tmp", "type=tmpfs,target=/t", "type=bind,target=/in,rw", "type=bind,source=${V:-a},target=/in"),
)
_SECRETS: Final = (
    *("type=secret,id=s", "type=secret,id=s,target=/etc/s,mode=0444", "type=secret,id=none", "type=secret,id=s,env=S", "type=secret,id=t"),
    *(
        "type=secret,id=s,target=sec",
        "type=secret,id=s,target=sub/sec,uid=1000",
        "type=secret,id=s,mode=0400,gid=1000",
        "type=secret,id=s,required",
    ),
    *("type=secret,target=/run/secrets/s", "type=secret,id=s,dst=/in/s", "type=secret,id=s,env=A", "type=secret,id=t,required=false"),
)
_ODD_SECRETS: Final = ("type=secret,id=none,required", "type=secret,id=none,required=true", "type=secret")
_MORE_MOUNTS: Final = (
    *("type=cache,target=/cache,uid=1000,gid=1000", "type=cache,target=/cache,mode=0750", "type=cache,target=/app/c,mode=0700"),
    *("type=cache,target=/cache,sharing=private", "type=cache,target=cache", "type=cache,target=/cache,ro", "type=cache,target=/in/c"),
    *(
        "type=cache,target=/cache,from=base:2,source=/etc",
        "type=tmpfs,target=/t,size=65536",
        "type=tmpfs,target=/t,ro",
        "type=tmpfs,destination=/app/t",
        "dst=/in,src=src",
    ),
    *("type=bind,destination=/in,source=src,readonly", "target=/in,ro=false", "type=bind,source=src,target=/in,readonly=true"),
    *("type=bind,source=src/deep,target=/in/deep", "type=bind,source=/lib,target=/in/lib", "type=bind,from=base:2,source=etc,target=/in"),
    *(
        "type=bind,source=docs,target=/in/",
        "type=bind,source=dirlink,target=/in",
        "type=bind,source=./a,target=/in/../in2",
        "from=base:2,target=/in",
    ),
)
_ODD_MOUNTS: Final = (
    *(
        "type=bind",
        "type=bind,source=nothing,target=/in",
        "type=cache",
        "type=nope,target=/x",
        "type=bind,target=/in,size=3",
        "target=/in,id=x",
    ),
    *(
        "type=tmpfs,target=/t,source=a",
        "type=cache,target=/cache,sharing=never",
        "type=bind,source=..,target=/in",
        "target=.",
        "type=cache,target=/c,mode=9",
    ),
)
_MOUNTED: Final = (
    *(
        "ls /in > /l || true",
        "cat /in/a > /o || true",
        "cat /cache/f > /o || true; echo $V >> /cache/f || true",
        "echo $V > /in/new || true",
    ),
    *("touch /t/f /tmp/f; ls /t /tmp > /l || true", "true"),
)
_WITH_SECRETS: Final = (
    *("cat /run/secrets/s > /o || true", "cat /etc/s > /o || true", "echo ${S:-unset} > /o", "ls -n /run/secrets > /l 2>/dev/null; true"),
    *("cat sec sub/sec > /o 2>/dev/null; true", "stat -c '%a %u %g' /run/secrets/* sec sub/sec > /o 2>/dev/null; true", "echo $A > /o"),
)
_MORE_MOUNTED: Final = (
    *(
        "stat -c '%a %u %g' /cache /app/c > /o 2>/dev/null; true",
        "find /in /in2 | sort > /l 2>/dev/null; true",
        "touch /in/w /cache/w; true",
    ),
    *("echo x > /cache/x; stat -c '%a %u %g' /cache/x > /o; true", "cat /cache/* > /o 2>/dev/null; true", "ls . > /l", "rm -f /in/a; true"),
    *(
        "dd if=/dev/zero of=/t/big bs=1024 count=128 2>/dev/null; wc -c < /t/big > /o; true",
        "ls /cache > /l; true",
        "cp -r /in /copy; true",
    ),
)
_EXEC: Final = ('["/bin/sh", "-c", "echo exec > /o"]', '["/bin/sh", "-c", "true"]', '["/bin/sh", "-c", "echo $V > /o"]')
_MORE_EXEC: Final = (
    *(
        '["true"]',
        '["touch", "/two words"]',
        '[ "sh","-c" , "echo \\"$V\\" > /o" ]',
        "['true']",
        '["sh", "-c", "echo \\u00e9 > /o"]',
        "[broken || true",
    ),
    *('["/bin/touch", "$V"]', '["mkdir", "-p", "/m/n"] ', '["none"]', "[]"),
)


def run(dice: Dice, stages: Sequence[str]) -> str:
    """A RUN. ``stages``: those that mounts may name."""
    flags: list[str] = []
    command: str = dice.one((*_COMMANDS, *_MORE_COMMANDS) if dice.theme("forms") or dice.theme("modes") else _COMMANDS)
    if dice.chance(0.5 if dice.theme("mounts") or dice.theme("secrets") else 0.15):
        mounts, mounted = _mounts(dice, stages)
        flags += [f"--mount={dice.one(mounts)}" for _ in range(dice.one((1, 1, 2) if not dice.theme("mounts") else (1, 2, 2, 3)))]
        command = dice.one(mounted)
    if dice.theme("errors", 0.1):
        command = "exit 3"
    odd = dice.theme("forms")
    if odd and dice.chance(0.08):
        flags.append(dice.one(("--network=none", "--network=none", "--network=default", "--network=host", "--network=nowhere")))
    if dice.theme("spelling", 0.08):
        flags.append("--")
    text = " ".join(["RUN", *flags])
    if dice.chance(0.25 if odd else 0.06):
        return f"{text} {dice.one((*_EXEC, *_MORE_EXEC) if odd else _EXEC)}"
    if dice.chance(0.4 if dice.theme("heredocs") else 0.06):
        return f"{text} {_script(dice)}"
    if dice.chance(0.15):
        command += f" && {dice.one(_COMMANDS)}"
    return f"{text} {command}"


def _mounts(dice: Dice, stages: Sequence[str]) -> tuple[list[str], list[str]]:
    mounts, mounted = list(_MOUNTS), list(_MOUNTED)
    mounts += [f"from={name},source={place},target=/in" for name in stages for place in ("/", "/x")]
    if dice.theme("secrets"):
        mounts += [*_SECRETS, *_SECRETS, *(_ODD_SECRETS if dice.theme("errors", 0.5) else ())]
        mounted += [*_WITH_SECRETS, *_WITH_SECRETS]
    if dice.theme("mounts"):
        mounts += [*_MORE_MOUNTS, *(_ODD_MOUNTS if dice.theme("errors", 0.5) else ())]
        mounts += [f"type=cache,target=/cache,from={name},source=/app" for name in stages]
        mounts += [f"from={name},target=/in" for name in stages]
        mounted += _MORE_MOUNTED
    newer = dice.older and [mount for mount in mounts if "env=" in mount or ("type=cache" in mount and "from=" in mount)]
    return [mount for mount in mounts if mount not in (newer or ())], mounted


def _script(dice: Dice) -> str:
    odd = dice.theme("heredocs")
    marker = dice.one(("EOF", '"EOF"', "-EOF"), ("'EOF'", "-'E'", "sh.txt"), often=0.3 if odd else 0)
    first = dice.one(("", "", "" if "-" in marker else "#!/bin/sh\n"))
    body = f"{first}{dice.one(_COMMANDS)}\n{dice.one(_COMMANDS)}\n"
    end = closing(marker)
    if not odd or dice.chance(0.5):
        return f"<<{marker}\n{body}{end}"
    forms = (
        f"cat <<{marker} > /o\nvalue $V\n{end}",
        f"cat <<{marker} <<TWO > /o\none\n{end}\ntwo $V\nTWO",
        f"<<{marker} <<TWO\n{body}{end}\necho two > /o\nTWO",
        f"sh <<{marker}\n{body}{end}",
        f"<<{marker} cat > /o\nx\n{end}",
        f"cat <<{marker} > /o && true\n\ttab\n{end}",
        f"sh -e <<{marker} /dev/stdin\n{body}{end}",
    )
    text: str = dice.one(forms)
    return text
