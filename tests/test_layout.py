"""Host paths: none of one kind is ever another's."""

from __future__ import annotations

import inspect
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.layout import SUN_PATH, Layout
from user_wsgi_wrapper.site import BadValueError, parse_domain, parse_username

LAYOUT = Layout(Path("/r"))
# Names that are trouble when they meet: each other's prefixes, suffixes and the layout's own words.
DOMAINS = [
    "a",
    "a.ini",
    "a.awake",
    "awake",
    "a.socket.awake",
    "b.a",
    "held",
    "held.socket",
    "a.socket",
    "a.error.log",
    "sites.db",
    "var",
    "home",
    "tmp",
]
USERNAMES = ["a", "A", "a.ini", "home", "var", "tmp", "bin", "held", "a.b", "www"]
FOLDERS = [
    "vassals_dir",
    "chroots_dir",
    "storage_dir",
    "sockets_dir",
    "user_logs_dir",
    "state_dir",
    "run_dir",
    "own_logs_dir",
]


def methods(parameter: str) -> list[str]:
    """The names of the layout's methods that take this and nothing else."""
    functions = inspect.getmembers(Layout, inspect.isfunction)
    return [name for name, function in functions if list(inspect.signature(function).parameters)[1:] == [parameter]]


def of_domain(layout: Layout, domain: str) -> list[Path]:
    """Every path that belongs to one domain."""
    logs = [layout.log_file(domain, kind) for kind in inside.LOG_KINDS]
    return [getattr(layout, name)(domain) for name in methods("domain")] + logs


def of_user(layout: Layout, username: str) -> list[Path]:
    """Every path that belongs to one user."""
    return [getattr(layout, name)(username) for name in methods("username")]


def fixed(layout: Layout) -> list[Path]:
    """Every path of the product's own."""
    names = [name for name, _ in inspect.getmembers(Layout, lambda member: isinstance(member, property))]
    return [path for name in names if isinstance(path := getattr(layout, name), Path)]


def test_these_tests_know_the_layout() -> None:
    """They find its paths by their signatures."""
    assert set(FOLDERS) <= set(dir(Layout))
    assert {"vassal", "socket", "log_dir"} <= set(methods("domain"))
    assert {"chroot", "storage", "home", "www", "tmp"} <= set(methods("username"))
    assert len(fixed(LAYOUT)) > len(FOLDERS)


def test_the_names_in_these_tests_are_lawful() -> None:
    """Otherwise they would prove nothing."""
    assert [parse_domain(name) for name in DOMAINS] == DOMAINS
    assert [parse_username(name) for name in USERNAMES] == USERNAMES


def test_no_two_paths_collide() -> None:
    """Not of two domains, not of two users, not of a domain and a user, not with a path of the product's own."""
    paths = fixed(LAYOUT)
    for domain in DOMAINS:
        paths += of_domain(LAYOUT, domain)
    for username in USERNAMES:
        paths += of_user(LAYOUT, username)
    assert len(set(paths)) == len(paths)


def test_one_tenants_path_is_never_inside_anothers() -> None:
    """What is done to one tenant's folder touches nothing of another's."""
    for mine, yours in combinations(USERNAMES, 2):
        for one in of_user(LAYOUT, mine):
            assert not any(one.is_relative_to(other) or other.is_relative_to(one) for other in of_user(LAYOUT, yours))
    for mine, yours in combinations(DOMAINS, 2):
        for one in of_domain(LAYOUT, mine):
            assert not any(
                one.is_relative_to(other) or other.is_relative_to(one) for other in of_domain(LAYOUT, yours)
            )


def test_no_path_of_the_products_own_is_inside_a_tenants() -> None:
    """A tenant's folder can be deleted whole."""
    for tenants in [of_domain(LAYOUT, name) for name in DOMAINS] + [of_user(LAYOUT, name) for name in USERNAMES]:
        for own in fixed(LAYOUT):
            assert not any(own.is_relative_to(theirs) for theirs in tenants)


def test_the_parents_are_folders_apart() -> None:
    """None of the eight folders is inside another one."""
    folders = [getattr(LAYOUT, name) for name in FOLDERS]
    assert not [
        pair
        for pair in combinations(folders, 2)
        if pair[0].is_relative_to(pair[1]) or pair[1].is_relative_to(pair[0])
    ]


@pytest.mark.parametrize("root", ["/", "/r", "/srv/a b"])
def test_everything_is_under_the_root(root: str) -> None:
    """For any root, and at the same place below it."""
    layout, plain = Layout(Path(root)), Layout()
    pairs = zip(
        fixed(layout) + of_domain(layout, "a.b") + of_user(layout, "Alice"),
        fixed(plain) + of_domain(plain, "a.b") + of_user(plain, "Alice"),
        strict=True,
    )
    assert all(path.relative_to(root) == other.relative_to("/") for path, other in pairs)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 60), st.sampled_from("rü"))
def test_a_domain_is_as_long_as_its_sockets_path_leaves_room(length: int, depth: int, letter: str) -> None:
    """The socket's path fits into sun_path, counted in bytes, or the domain is refused; none is refused that fits."""
    layout = Layout(Path("/" + letter * depth))
    domain = "a" * length
    fits = len(str(layout.sockets_dir / f"{domain}.socket").encode()) <= SUN_PATH
    if fits:
        assert len(str(layout.socket(domain)).encode()) <= SUN_PATH
    else:
        with pytest.raises(BadValueError, match=f"{length} characters, its socket's path leaves room for") as caught:
            layout.socket(domain)
        assert len(str(caught.value).splitlines()) == 1


def test_the_contracts_paths_are_as_written() -> None:
    """Scripts outside this repository call these names."""
    layout = Layout()
    assert str(layout.vassal("one.example")) == "/etc/uwsgi/vassals/one.example.ini"
    assert str(layout.socket("one.example")) == "/var/www/socket/one.example.socket"
    for kind in ("access", "error", "server"):
        log = f"/var/log/nginx/user_logs/one.example/one.example.{kind}.log"
        assert str(layout.log_file("one.example", kind)) == log
    assert str(layout.chroot("Alice")) == "/mnt/chroots/Alice"
    assert str(layout.storage("Alice")) == "/mnt/user_storage/Alice"
    assert str(layout.sites_db) == "/var/lib/user_wsgi_wrapper/sites.db"
