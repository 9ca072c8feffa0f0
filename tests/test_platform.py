"""Names of platforms: every spelling that containerd knows, and the words for those that it does not."""

from __future__ import annotations

import pytest

from layerlab.platform import ARCHITECTURE, normal_platform


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", "linux/amd64"),
        ("Linux/x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/armhf", "linux/arm"),
        ("linux/arm/v7", "linux/arm"),
        ("linux/arm/6", "linux/arm/v6"),
        ("armel", "linux/arm/v6"),
        ("i386", "linux/386"),
        ("windows/amd64", "windows/amd64"),
        ("linux", f"linux/{ARCHITECTURE}"),
    ],
)
def test_spellings(text: str, platform: str) -> None:
    assert normal_platform(text) == platform


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lunix", "unknown operating system or architecture"),
        ("a/b/c/d", "cannot parse platform specifier"),
        ("linux/", "must match"),
        ("li nux", "must match"),
    ],
)
def test_what_is_no_platform(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        normal_platform(text)
