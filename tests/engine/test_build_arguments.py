"""Build arguments that mean something to the builder itself, and flags that it reads and refuses: as Docker 28.5.2 answered."""

from __future__ import annotations

import pytest

from layerlab.errors import LayerlabError

from .conftest import Lab, verdicts

_EPOCH = 1_000_000_000
_HOSTNAME = "FROM base:1\nRUN hostname; head -1 /etc/hosts\n"
_CACHE = "FROM base:1\nRUN --mount=type=cache,target=/c cat /c/f 2>/dev/null; echo {word} > /c/f\n"


def test_a_step_can_have_another_host_name(lab: Lab) -> None:
    if lab.engine.host.executor == "proot":
        pytest.skip("proot gives no host name")
    lab.build(_HOSTNAME)
    assert lab.output == "buildkitsandbox\n127.0.0.1\tlocalhost buildkitsandbox\n"
    record = lab.build(_HOSTNAME, build_args={"BUILDKIT_SANDBOX_HOSTNAME": "foo"})
    assert lab.output == "foo\n127.0.0.1\tlocalhost foo\n"
    assert verdicts(record) == ["executed"]
    assert record.warnings == ()
    assert verdicts(lab.build(_HOSTNAME)) == ["cached"]


def test_caches_can_have_a_name_space(lab: Lab) -> None:
    lab.build(_CACHE.format(word="plain"))
    lab.build(_CACHE.format(word="other"), build_args={"BUILDKIT_CACHE_MOUNT_NS": "ns"})
    assert lab.output == ""
    lab.build(_CACHE.format(word="again"), build_args={"BUILDKIT_CACHE_MOUNT_NS": "ns"})
    assert lab.output == "other\n"
    lab.build(_CACHE.format(word="last"))
    assert lab.output == "plain\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"BUILDKIT_SYNTAX": "foo/bar"}, "the external frontend foo/bar is not supported"),
        ({"BUILDKIT_DISABLE_FILEOP": "1"}, 'support for "BUILDKIT_DISABLE_FILEOP" build-arg was removed'),
        ({"SOURCE_DATE_EPOCH": "bogus"}, 'invalid source-date-epoch: strconv.ParseInt: parsing "bogus": invalid syntax'),
        ({"SOURCE_DATE_EPOCH": "9" * 19}, "value out of range"),
        ({"BUILDKIT_DOCKERFILE_CHECK": "bogus"}, 'failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: invalid check option "bogus"'),
        ({"BUILDKIT_MULTI_PLATFORM": "here"}, "invalid boolean value for multi-platform: here"),
    ],
)
def test_what_they_cannot_be(lab: Lab, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(LayerlabError) as caught:
        lab.build("FROM base:1\nRUN true\n", build_args=arguments)
    assert message in caught.value.message


def test_the_built_in_frontend_may_be_named(lab: Lab) -> None:
    assert lab.build("FROM base:1\nRUN true\n", build_args={"BUILDKIT_SYNTAX": "docker/dockerfile:1"}).warnings == ()


@pytest.mark.parametrize("given", ["argument", "environment"])
def test_an_image_is_as_old_as_it_is_told_to_be(lab: Lab, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    dockerfile = "FROM base:1\nARG SOURCE_DATE_EPOCH\nWORKDIR /w/x\nRUN echo e=$SOURCE_DATE_EPOCH $(stat -c %Y /w /w/x)\n"
    lab.build(dockerfile)
    options = {}
    if given == "argument":
        options = {"build_args": {"SOURCE_DATE_EPOCH": str(_EPOCH)}}
    else:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(_EPOCH))
    record = lab.build(dockerfile, **options)
    assert lab.output == f"e={_EPOCH} {_EPOCH} {_EPOCH}\n"
    assert verdicts(record) == ["executed", "executed"]
    config = lab.config(record)
    assert config["created"] == "2001-09-09T01:46:40.000000Z"
    own = [row["created"] for row in config["history"] if row.get("comment") == "buildkit.dockerfile.v0"]
    assert own
    assert set(own) == {"2001-09-09T01:46:40.000000Z"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("vendor.com/class=x", "device feature is only supported in Dockerfile frontend 1.14.0-labs or later"),
        ("name=a,required", "device feature is only supported in Dockerfile frontend 1.14.0-labs or later"),
        ("", "failed to parse csv devices: EOF"),
        ("name=a,nme=b", "unexpected key 'nme' in 'nme=b' (did you mean name?)"),
        ("name=a,name=b", "device name already set to a"),
        ("a,b", "invalid field 'b' must be a key=value pair"),
        ("a,required=maybe", "invalid value for required: maybe"),
    ],
)
def test_a_step_has_no_devices(lab: Lab, value: str, message: str) -> None:
    with pytest.raises(LayerlabError) as caught:
        lab.build(f"FROM base:1\nRUN --device={value} true\n")
    assert caught.value.message == message
    assert caught.value.line == 2


def test_a_device_of_a_stage_that_is_not_needed_is_nobodys_business(lab: Lab) -> None:
    assert lab.build("FROM base:1 AS a\nRUN --device=vendor.com/class=x true\nFROM base:1\nRUN true\n").image


def test_a_variable_that_holds_a_secret_is_not_printed_with_its_other_value(lab: Lab) -> None:
    record = lab.build('FROM base:1\nENV KEY=plain\nRUN --mount=type=secret,id=k,env=KEY test "$KEY" = value\n', secrets={"k": b"value"})
    assert record.steps[-1].instruction == 'RUN --mount=type=secret,id=k,env=KEY test "****" = value'


@pytest.mark.parametrize(
    ("platform", "message"),
    [
        ("$TARGTPLATFORM", "empty platform value from expression $TARGTPLATFORM (did you mean TARGETPLATFORM?)"),
        ("bo/g/u/s", 'failed to parse platform bo/g/u/s: "bo/g/u/s": cannot parse platform specifier: invalid argument'),
        ("windows(10.0.17763)/amd64", "FROM --platform=windows(10.0.17763)/amd64 is windows/amd64, this machine is "),
    ],
)
def test_platforms_that_are_none_or_another(lab: Lab, platform: str, message: str) -> None:
    with pytest.raises(LayerlabError) as caught:
        lab.build(f"FROM --platform={platform} base:1\nRUN true\n")
    assert caught.value.message.startswith(message)


def test_a_version_of_this_system_is_no_other_platform(lab: Lab) -> None:
    assert lab.build("FROM --platform=linux(5) base:1\nRUN true\n").image
