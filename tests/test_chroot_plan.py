"""What a plan says, without a disk."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_wsgi_wrapper.emperor_hook import chroot_plan
from user_wsgi_wrapper.emperor_hook.chroot_plan import (
    ALL_FACTS,
    Bind,
    Directory,
    Filesystem,
    HostFacts,
    LogFile,
    plan,
)
from user_wsgi_wrapper.emperor_hook.mounts import Flags
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError

LAYOUT = Layout(Path("/host"))
FACTS = HostFacts((("lib", "usr/lib"), ("sbin", "usr/sbin")), (), ("resolv.conf",), ("alternatives",), "/usr/zone")
FRONT = 33


@dataclass(frozen=True)
class Identity:
    username: str = "Arthur"
    uid: int = 61001
    gid: int = 61002


usernames = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}", fullmatch=True)
domains = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?\.[a-z]{2,10}", fullmatch=True).filter(
    lambda name: not name.startswith("xn--")
)
identities = st.builds(Identity, usernames, st.integers(1, 2**31), st.integers(1, 2**31))
plans = st.builds(
    lambda identity, names, facts: (identity, names, plan(LAYOUT, identity, names, facts, FRONT)),
    identities,
    st.lists(domains, max_size=3),
    st.sampled_from([FACTS, ALL_FACTS]),
)


def where(step):
    return PurePosixPath(str(step.place))


@given(plans)
def test_each_step_finds_its_parent_in_place(planned):
    """A parent is a base or a folder of an earlier step; it need never be made in passing."""
    *_, made = planned
    there = {PurePosixPath(step.place.base) for step in made.steps}
    for step in made.steps:
        assert where(step).parent in there, step
        if isinstance(step, Directory):
            there.add(where(step))


@given(plans)
def test_no_place_and_no_source_lies_beneath_what_the_tenant_owns(planned):
    """Root never walks a path that the tenant can change."""
    identity, _, made = planned
    his = {where(step) for step in made.steps if isinstance(step, Directory) and step.uid == identity.uid}
    his |= {where(step) for step in made.steps if isinstance(step, Directory) and step.mode & 0o022}
    his |= {where(step) for step in made.steps if isinstance(step, Bind) and not step.flags & Flags.RDONLY}
    assert len(his) >= 6
    for step in made.steps:
        touched = {where(step)} | ({PurePosixPath(str(step.source))} if isinstance(step, Bind) else set())
        assert not any(parent in his for path in touched for parent in path.parents), step


@given(plans)
def test_no_two_steps_share_a_place(planned):
    """Nothing is made twice, nothing covers something else."""
    *_, made = planned
    places = [where(step) for step in made.steps]
    assert len(set(places)) == len(places)


@given(plans)
def test_the_tenant_owns_his_home_his_www_and_two_logs_a_domain(planned):
    """Everything else is root's, but the access log, which is the front's."""
    identity, names, made = planned
    folders = {str(step.place) for step in made.steps if isinstance(step, Directory) and step.uid != 0}
    storage = LAYOUT.storage(identity.username)
    assert folders == {str(storage / "home"), str(storage / "var/www")}
    logs = {(str(step.place), step.uid, step.gid, step.mode) for step in made.steps if isinstance(step, LogFile)}
    expected = set()
    for name in names:
        for kind, owner in (("access", FRONT), ("error", identity.uid), ("server", identity.uid)):
            expected.add((str(LAYOUT.log_file(name, kind)), owner, identity.gid, 0o640))
    assert logs == expected


@given(plans)
def test_every_mount_ignores_setuid_and_devices(planned):
    """Whatever a tenant brings into his storage stays without power."""
    *_, made = planned
    for step in made.steps:
        if isinstance(step, (Bind, Filesystem)):
            assert Flags.NOSUID | Flags.NODEV in step.flags, step


@given(plans)
def test_the_mounts_come_last_and_those_of_the_chroots_own_at_the_very_end(planned):
    """With the last two in place, nothing before them was cut short."""
    *_, made = planned
    kinds = [2 if isinstance(step, Filesystem) else int(isinstance(step, Bind)) for step in made.steps]
    assert kinds == sorted(kinds)
    assert kinds.count(2) == 2


@given(plans)
def test_whatever_a_plan_puts_into_the_chroot_can_be_removed(planned):
    """The removal knows every place, and takes what lies deeper first."""
    identity, names, made = planned
    removed = chroot_plan.removable(LAYOUT, identity.username, names)
    assert {step.place for step in made.steps if step.place.base == LAYOUT.chroots_dir} <= set(removed)
    assert all(place.base == LAYOUT.chroots_dir for place in removed)
    for index, place in enumerate(removed):
        assert not any(str(later).startswith(f"{place}/") for later in removed[index:])


def test_a_plan_does_not_depend_on_the_order_or_repetition_of_domains():
    """The same sites give the same plan."""
    one = plan(LAYOUT, Identity(), ["b.example.com", "a.example.com"], FACTS, FRONT)
    two = plan(LAYOUT, Identity(), ["a.example.com", "b.example.com", "a.example.com"], FACTS, FRONT)
    assert one == two


def test_where_usr_is_not_merged_its_folders_are_bound():
    """An old host's /lib is shown read-only."""
    made = plan(LAYOUT, Identity(), (), HostFacts((), ("lib",), (), ()), FRONT)
    (step,) = [step for step in made.steps if str(step.place) == "/host/mnt/chroots/Arthur/lib"]
    assert isinstance(step, Bind)
    assert step.source == Path("/lib")
    assert Flags.RDONLY in step.flags


@pytest.mark.parametrize(
    ("identity", "names", "says"),
    [
        (Identity(uid=0), (), "uid 0"),
        (Identity(gid=0), (), "gid 0"),
        (Identity(uid=-1), (), "uid -1"),
        (Identity(username=".."), (), "'..'"),
        (Identity(username="a/b"), (), "'a/b'"),
        (Identity(username="a:b"), (), "'a:b'"),
        (Identity(username="a\nb"), (), "username"),
        (Identity(username=""), (), "username"),
        (Identity(), ("../etc",), "../etc"),
        (Identity(), ("EXAMPLE.com",), "EXAMPLE.com"),
    ],
)
def test_a_plan_for_root_or_for_no_name_is_refused(identity, names, says):
    """One line that names the value; nothing is planned."""
    with pytest.raises(BadValueError) as caught:
        plan(LAYOUT, identity, names, FACTS, FRONT)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
