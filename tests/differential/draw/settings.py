"""ARG, ENV, WORKDIR and what only the image's configuration has."""

from __future__ import annotations

from typing import Final

from .dice import Dice

_ARGUMENTS: Final = (
    *("ARG V", "ARG V=a", "ARG V=src", "ARG A=1", "ARG A=$V", "ARG A=2 V=$A", "ARG U=1000", "ARG M=644", "ARG D=/app", "ARG BASE"),
    *("ENV V=a", "ENV A=x$V", "ENV D=/d/e U=0", "ENV A=1 V=${A}2", "ENV PATH=$PATH:/more", 'ENV A="two words"', "ENV A b c", "ENV M=700"),
    *("ENV V=${A:+set}", "ENV A=${V#a}", "ENV A=${V%%c}", "ENV A=${V/a/b}", "ENV A='$V'", "ENV A=\\$V"),
)
_VARIABLES: Final = (
    *(
        "ENV A=${V-x}",
        "ENV A=${V+y}",
        "ENV A=${V//a/b}",
        "ENV A=${V##*c}",
        "ENV A=${V%?}",
        "ENV A=${V:-${A:-z}}",
        'ENV A="$V"x',
        "ENV A=$V$V",
    ),
    *(
        "ENV A=\\\\$V",
        'ENV A="\\$V"',
        "ENV A='it''s'",
        'ENV A="a\'b"',
        "ENV A=a\\ b V=c",
        "ENV A=${V}_",
        "ENV A=$V_",
        "ENV A=$$V",
        "ENV A=${V/s*/t}",
    ),
    *(
        "ENV A=${V#?} V=$A",
        "ARG A=${V:-d}",
        "ARG V=$V",
        'ARG A="x y"',
        "ARG A V U",
        "ENV A=",
        'ENV A=""',
        "ENV A=$1",
        "ENV A=${V:+${A}}",
        "ENV V",
    ),
    *(
        "ARG V=a\nENV A=${V?}",
        "ARG V=a\nENV A=${V:?message}",
        "ENV A=${V%a*}",
        "ENV A=${V/[a-c]/x}",
        "ENV A=é$V",
        "ARG A=$U",
    ),
)
# 26.1.5's daemon ends at an empty pattern.
_NEWER_VARIABLES: Final = ("ENV A=${V##}", "ENV A=${V%}", "ENV A=${V//}", "ENV A=${V/#a/b}")
_ODD_VARIABLES: Final = (
    "ENV A=${V?}",
    "ENV A=${V:?}",
    "ENV A=${V",
    "ENV A=${V!x}",
    "ENV A=${V/a}",
    "ENV A='x",
    "ENV =x",
    "ARG =x",
    "ARG",
    "ENV",
    "ENV A=${}",
)
_PLATFORMS: Final = (
    *("ARG TARGETARCH", "ARG TARGETPLATFORM", "ARG BUILDPLATFORM", "ARG TARGETOS", "ARG TARGETVARIANT", "ARG BUILDARCH", "ARG BUILDOS"),
    *("ENV A=$TARGETARCH", "LABEL p=$BUILDPLATFORM", "ARG TARGETSTAGE", "ARG TARGETARCH=mine", "ENV TARGETARCH=mine", "ARG BUILDVARIANT"),
    *(
        "ARG HTTP_PROXY",
        "ARG http_proxy=here",
        "ARG NO_PROXY",
        "ENV A=$HTTP_PROXY",
        "ARG BUILDKIT_SANDBOX_HOSTNAME",
        "ARG BUILDKIT_INLINE_CACHE",
    ),
)
_WORKDIRS: Final = ("/app", "/app", "sub", "/x", "..", "/", "$D", "/d/e", "./a/../b", "/app/")
_ODD_WORKDIRS: Final = (
    "/.",
    "//",
    "//x",
    "/app/../x/.",
    ".",
    "./",
    "${D:-/app}/s",
    "'/app'",
    '"/two words"',
    "/ln",
    "/ln/in",
    "a b",
    "/etc/passwd/x",
)
_METADATA: Final = (
    *("LABEL l=1", "LABEL l=$V m='x y'", "LABEL l 2", "CMD run", 'CMD ["run", "it"]', "CMD [broken", "ENTRYPOINT go", 'ENTRYPOINT ["go"]'),
    *("EXPOSE 80", "EXPOSE 80/udp 443", "EXPOSE 8000-8002/tcp", "VOLUME /v", 'VOLUME ["/v", "/w"]', "VOLUME ${D:-/v}"),
    *(
        "USER node",
        "USER 1000:1000",
        "USER ${U:-0}",
        "USER root",
        "STOPSIGNAL SIGTERM",
        "STOPSIGNAL 9",
        "MAINTAINER me",
        "HEALTHCHECK NONE",
    ),
    *(
        "HEALTHCHECK --interval=5s CMD true",
        'HEALTHCHECK CMD ["true"]',
        'SHELL ["/bin/sh", "-e", "-c"]',
        "# a comment",
        "EXPOSE ${A:-90}/tcp",
    ),
)
_FORMS: Final = (
    *("HEALTHCHECK --interval=1m30s --timeout=1.5s CMD true", "HEALTHCHECK --retries=3 CMD true", "HEALTHCHECK --start-period=2s CMD a b"),
    *(
        "HEALTHCHECK --start-interval=0.5s --retries=0 CMD true",
        "HEALTHCHECK --interval=1h CMD",
        'HEALTHCHECK CMD ["a", "$V"]',
        "ENTRYPOINT []",
    ),
    *(
        'SHELL ["/bin/sh", "-ec"]',
        'SHELL ["/bin/sh"]',
        'SHELL ["sh", "-c"]',
        "CMD []",
        'CMD ["a","b c"]',
        "CMD $V",
        'CMD ["$V"]',
        "CMD  two  blanks ",
    ),
    *(
        'ENTRYPOINT ["go"]\nCMD ["x"]',
        "CMD x\nENTRYPOINT go",
        "VOLUME /a /b",
        'VOLUME ["/a b"]',
        "LABEL 'a b'=c",
        'LABEL "a"="b\\nc"',
    ),
    *(
        "LABEL a=1 b=2 a=3",
        "LABEL a='$V' b=\"$V\"",
        "LABEL a.b/c=d",
        "EXPOSE 1-3",
        "EXPOSE 80 80/tcp",
        "EXPOSE 53/UDP",
        "EXPOSE 443/sctp",
        "EXPOSE 080",
    ),
    *(
        "STOPSIGNAL RTMIN+3",
        "STOPSIGNAL ${V:-KILL}",
        "USER 1000:node",
        "USER node:0",
        "USER 5",
        "MAINTAINER a <b@c>  d",
    ),
    *(
        'CMD ["a", "\\u00e9\\t"]',
        "CMD é",
        'ENTRYPOINT ["a"',
        "ENTRYPOINT  x",
        'CMD [ "a" , "b" ]',
        "CMD ['a']",
        'CMD ["a"] b',
        "STOPSIGNAL  9 ",
    ),
)
_ODD_METADATA: Final = (
    "EXPOSE",
    "USER nobody",
    "VOLUME $D",
    "EXPOSE $A",
    "USER $U",
    "STOPSIGNAL x",
    "LABEL l",
    "CMD",
    "SHELL sh",
    "RUNN x",
)
_ODD_FORMS: Final = (
    *(
        "EXPOSE",
        "USER nobody",
        "VOLUME $D",
        "VOLUME []",
        "EXPOSE $A",
        "USER $U",
        "EXPOSE 70000",
        "STOPSIGNAL x",
        "LABEL l",
        "CMD",
        "SHELL sh",
        "RUNN x",
    ),
    *(
        "EXPOSE 1:2",
        "HEALTHCHECK --retries=-1 CMD true",
        "HEALTHCHECK --interval=1x CMD true",
        "HEALTHCHECK",
        "HEALTHCHECK --nope CMD true",
        "SHELL []",
    ),
    *(
        "HEALTHCHECK NONE x",
        "HEALTHCHECK RUN true",
        "HEALTHCHECK --interval=0.1ms CMD true",
        "USER",
        "USER a b",
        "VOLUME",
        "WORKDIR",
        "MAINTAINER",
    ),
    *(
        "STOPSIGNAL",
        "STOPSIGNAL a b",
        "ENTRYPOINT",
        "ONBUILD FROM x",
        "ONBUILD",
        "ONBUILD ONBUILD RUN x",
        "LABEL =x",
        "EXPOSE 3-1",
        "EXPOSE tcp",
    ),
)
_TRIGGERS: Final = (
    "ONBUILD RUN echo later > /later",
    "ONBUILD COPY a /later",
    "ONBUILD ENV V=later",
    "ONBUILD WORKDIR /later",
    "ONBUILD ARG L=1",
)


def argument(dice: Dice) -> str:
    """An ARG or ENV."""
    if dice.theme("variables", 0.6):
        return str(dice.right((*_VARIABLES, *(() if dice.older else _NEWER_VARIABLES)), _ODD_VARIABLES))
    if dice.theme("platforms", 0.5):
        return str(dice.one(_PLATFORMS))
    # 26.1.5 does not see what stands before in the same ARG.
    return str(dice.one([text for text in _ARGUMENTS if not (dice.older and text == "ARG A=2 V=$A")]))


def workdir(dice: Dice) -> str:
    """A WORKDIR."""
    return f"WORKDIR {dice.one(_WORKDIRS, _ODD_WORKDIRS, often=0.3 if dice.theme('forms') else 0)}"


def metadata(dice: Dice) -> str:
    """An instruction that makes no files."""
    if dice.theme("triggers", 0.3):
        return str(dice.one(_TRIGGERS))
    if dice.theme("forms"):
        return str(dice.right((*_METADATA, *_FORMS, *_FORMS), _ODD_FORMS))
    return str(dice.right(_METADATA, _ODD_METADATA))
