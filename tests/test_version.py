"""Versions compare as their makers compare them."""

from __future__ import annotations

import itertools
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools_needed import needs

from aistack.facts.version import Scheme, VersionFormatError, in_numbers, key, newest_first, parse_range

debian_text = st.from_regex(r"\A[0-9][0-9a-c.+~]{0,5}(-[0-9a-c.+~]{1,3})?\Z")
numbers = st.lists(st.integers(0, 12), min_size=1, max_size=4)


def dotted(parts: list[int]) -> str:
    return ".".join(map(str, parts))


@settings(deadline=None)
@given(numbers, numbers)
def test_release_compares_number_by_number(left: list[int], right: list[int]) -> None:
    width = max(len(left), len(right))
    padded = [part + [0] * (width - len(part)) for part in (left, right)]
    one, two = key(dotted(left), Scheme.RELEASE), key(dotted(right), Scheme.RELEASE)
    assert (one < two) is (padded[0] < padded[1])
    assert (one == two) is (padded[0] == padded[1])


@settings(deadline=None)
@given(st.lists(debian_text, min_size=3, max_size=3))
def test_debian_order_is_total(texts: list[str]) -> None:
    one, two, three = (key(text, Scheme.DEBIAN) for text in texts)
    assert (one < two) + (one == two) + (one > two) == 1
    if one <= two <= three:
        assert one <= three


@settings(max_examples=60, deadline=None)
@given(debian_text, debian_text)
def test_debian_order_is_dpkgs(left: str, right: str) -> None:
    needs("dpkg")
    said = subprocess.run(["dpkg", "--compare-versions", left, "lt", right], check=False, capture_output=True).returncode == 0
    assert (key(left, Scheme.DEBIAN) < key(right, Scheme.DEBIAN)) is said


@pytest.mark.parametrize(
    "rising",
    [
        ("1.0~rc1-1", "1.0-1", "1.0-1+deb13u1", "1.0+b1-1", "1.0.1-1", "1:0.5-1"),
        ("550.163.01-2", "550.163.01-4~bpo13+1", "550.163.01-4", "550.163.01-5.1"),
    ],
)
def test_debian_examples(rising: tuple[str, ...]) -> None:
    assert newest_first(rising, Scheme.DEBIAN) == tuple(reversed(rising))


def test_kernel_is_its_upstream_part() -> None:
    rising = ["6.8.0-101-generic", "6.12", "6.12.107+deb13-cloud-amd64", "7.3~rc7", "7.3", "7.3.4+deb13-amd64"]
    for earlier, later in itertools.pairwise(rising):
        assert key(earlier, Scheme.KERNEL) < key(later, Scheme.KERNEL)
    assert parse_range("6.12.*", Scheme.KERNEL).admits("6.12.107+deb13-amd64")
    assert not parse_range("6.1.*", Scheme.KERNEL).admits("6.12.107+deb13-amd64")


@pytest.mark.parametrize(
    ("scheme", "text", "inside", "outside"),
    [
        (Scheme.RELEASE, "550.*", ["550", "550.163.01"], ["551", "55.0", "5500.1"]),
        (Scheme.RELEASE, "570.172.08", ["570.172.08", "570.172.8"], ["570.172.80", "570.172"]),
        (Scheme.RELEASE, ">=12.9,<13", ["12.9", "12.10"], ["12.8", "13.0"]),
        (Scheme.RELEASE, "!=12.9.*", ["12.8", "13"], ["12.9", "12.9.1"]),
        (Scheme.PEP440, ">=0.11", ["0.11", "0.11.2", "0.8.5.post1"][:2], ["0.8.5.post1", "0.10.2"]),
        (Scheme.PEP440, "0.11.*", ["0.11.0", "0.11.2"], ["0.110", "0.12"]),
        (Scheme.DEBIAN, "1.26.*", ["1.26.3-3+deb13u1", "1.26-1"], ["1.260-1", "1.25.9"]),
        (Scheme.WORD, "open", ["open"], ["proprietary"]),
    ],
)
def test_ranges(scheme: Scheme, text: str, inside: list[str], outside: list[str]) -> None:
    wanted = parse_range(text, scheme)
    assert [version for version in inside + outside if wanted.admits(version)] == inside
    assert str(wanted) == text


@settings(deadline=None)
@given(numbers, numbers, st.sampled_from([">=", "<=", ">", "<", "!=", ""]))
def test_ranges_agree_with_the_order(version: list[int], bound: list[int], operator: str) -> None:
    one, two = key(dotted(version), Scheme.RELEASE), key(dotted(bound), Scheme.RELEASE)
    expected = {">=": one >= two, "<=": one <= two, ">": one > two, "<": one < two, "!=": one != two, "": one == two}[operator]
    assert parse_range(operator + dotted(bound), Scheme.RELEASE).admits(dotted(version)) is expected


@pytest.mark.parametrize("text", ["", "x", ">=", ">=1.*", "1 2", "=>1", "latest", "1,"])
@pytest.mark.parametrize("scheme", [Scheme.RELEASE, Scheme.KERNEL, Scheme.PEP440])
def test_not_a_range(text: str, scheme: Scheme) -> None:
    with pytest.raises(VersionFormatError):
        parse_range(text, scheme)


def test_texts_with_numbers_sort_by_these_however_long_they_are() -> None:
    rising = ["6.1.0-50", "6.1.0-056", "6.12.9", "6.12.118+deb13", "6.12.118-rt", f"6.{'9' * 5000}"]
    rising.reverse()
    assert sorted(rising, key=in_numbers) == rising[::-1]
