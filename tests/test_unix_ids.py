"""How a tenant's uid and gid are chosen."""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from user_wsgi_wrapper.emperor_hook.unix_ids import Account, HostAccounts, Identity, check, choose
from user_wsgi_wrapper.site import BadValueError


@dataclass
class Machine:
    """A machine made up for a test."""

    accounts: dict[str, Account] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)

    def find(self, username: str) -> Account | None:
        return self.accounts.get(username)

    def is_taken(self, number: int) -> bool:
        return number in self.taken


class Given(list):
    """Identities given so far, as `choose` asks about them."""

    def of_uid(self, uid):
        return next((one.username for one in self if one.uid == uid), None)

    def has_gid(self, gid):
        return any(one.gid == gid for one in self)

    def highest(self, first, last):
        return max(self.numbers(first, last), default=None)

    def numbers(self, first, last):
        return [number for one in self for number in (one.uid, one.gid) if first <= number <= last]


def account(uid: int, gid: int, *, shared: bool = False) -> Machine:
    return Machine({"Alice": Account(uid, gid, shared)})


def test_a_stranger_gets_the_next_number_that_nobody_has() -> None:
    """As uid and as gid: neither a tenant nor the machine has it as either."""
    tenants = Given([Identity("a", 2000, 2002), Identity("b", 1500, 2003)])
    assert choose("Alice", Machine(taken={2001, 2004}), tenants, 2000, 2999) == Identity("Alice", 2005, 2005)


def test_an_account_keeps_its_ids() -> None:
    """Its own uid, and its primary group if that is its alone."""
    assert choose("Alice", account(1001, 1002), Given(), 2000, 2999) == Identity("Alice", 1001, 1002)


@pytest.mark.parametrize(
    "machine", [account(1001, 1002, shared=True), account(1001, 0), account(1001, 999), account(1001, 65534)]
)
def test_a_group_that_others_have_too_is_not_taken(machine: Machine) -> None:
    """One gid a user: a shared or a system group is replaced by an allocated number."""
    assert choose("Alice", machine, Given(), 2000, 2999) == Identity("Alice", 1001, 2000)


def test_a_group_that_another_tenant_has_is_not_taken() -> None:
    """Even if the password database says that it is private."""
    tenants = Given([Identity("Bob", 1005, 1002)])
    assert choose("Alice", account(1001, 1002), tenants, 2000, 2999) == Identity("Alice", 1001, 2000)


@pytest.mark.parametrize("uid", [0, 33, 999, 65534])
def test_a_system_account_is_no_tenant(uid: int) -> None:
    """Nobody gets root's or www-data's processes by a user name."""
    with pytest.raises(BadValueError, match=rf"username 'Alice': it is a system account \(uid {uid}\)"):
        choose("Alice", account(uid, 1002), Given(), 2000, 2999)


def test_two_accounts_with_one_uid_are_not_two_tenants() -> None:
    """The second is refused, and told whose the uid is."""
    with pytest.raises(BadValueError, match="its uid 1001 is Bob's already"):
        choose("Alice", account(1001, 1002), Given([Identity("Bob", 1001, 1005)]), 2000, 2999)


def test_a_range_that_is_used_up_is_told() -> None:
    """Both ends belong to the range."""
    tenants = Given([Identity("a", 2000, 2000)])
    assert choose("Alice", Machine(), tenants, 2000, 2001).uid == 2001
    with pytest.raises(BadValueError, match="ids 2000 to 2001: all are in use"):
        choose("Alice", Machine(taken={2001}), tenants, 2000, 2001)


def test_a_number_that_was_given_back_is_given_again_only_when_no_new_one_is_left() -> None:
    """Files of a forgotten tenant's that nobody thought of don't become the next one's at once."""
    tenants = Given([Identity("a", 2001, 2001)])
    assert choose("Alice", Machine(), tenants, 2000, 2002).uid == 2002
    assert choose("Alice", Machine(taken={2002}), tenants, 2000, 2002).uid == 2000


IDS = st.integers(1000, 1015)
ACCOUNTS = st.dictionaries(st.sampled_from("abcdefgh"), st.builds(Account, IDS, IDS, st.booleans()))


@settings(deadline=None)
@given(ACCOUNTS, st.sets(IDS), st.permutations("abcdefgh"))
def test_no_two_tenants_share_an_id(accounts: dict[str, Account], taken: set[int], names: list[str]) -> None:
    """Whatever accounts the machine has, and in whatever order tenants come, though accounts lie in the range."""
    machine = Machine(accounts, taken | {number for one in accounts.values() for number in (one.uid, one.gid)})
    tenants = Given()
    for name in names:
        try:
            tenants.append(check(choose(name, machine, tenants, 1000, 1012)))
        except BadValueError:
            continue
    uids, gids = [one.uid for one in tenants], [one.gid for one in tenants]
    assert len(set(uids)) == len(uids)
    assert len(set(gids)) == len(gids)
    for one in tenants:
        if one.username in accounts:
            assert one.uid == accounts[one.username].uid
        else:
            assert one.uid == one.gid not in machine.taken


@pytest.mark.parametrize(
    "identity",
    [Identity("a/b", 2000, 2000), Identity("a", 0, 2000), Identity("a", 2000, 999), Identity("a", 2000, -1)],
)
def test_an_identity_that_no_tenant_may_have_is_refused(identity: Identity) -> None:
    """Whoever made it up."""
    with pytest.raises(BadValueError):
        check(identity)


def test_this_machines_accounts_are_found_by_their_exact_names() -> None:
    """Root and nobody are there, ROOT is not."""
    accounts = HostAccounts()
    root = accounts.find("root")
    assert root is not None
    assert (root.uid, root.gid) == (0, 0)
    assert accounts.find("ROOT") is None
    with pytest.raises(BadValueError, match="system account"):
        choose("nobody", accounts, Given(), 200_000, 200_010)


def test_this_machines_numbers_are_taken(tmp_path: Path) -> None:
    """A uid, a gid that is nobody's uid, and no other number."""
    accounts = HostAccounts(tmp_path)
    uids = {entry.pw_uid for entry in pwd.getpwall()}
    gids_alone = {entry.gr_gid for entry in grp.getgrall()} - uids
    assert gids_alone
    assert all(accounts.is_taken(number) for number in uids | gids_alone)
    assert not accounts.is_taken(1_999_999_999)


def test_subordinate_ids_are_taken(tmp_path: Path) -> None:
    """Their owner can become each of them in a user namespace (subuid(5))."""
    (tmp_path / "subuid").write_text("bob:1900000000:10\n# remark\nbroken:x:1\n\n")
    (tmp_path / "subgid").write_text("1000:1900000020:1\n")
    accounts = HostAccounts(tmp_path)
    taken = [number for number in range(1_900_000_000 - 1, 1_900_000_030) if accounts.is_taken(number)]
    assert taken == [*range(1_900_000_000, 1_900_000_010), 1_900_000_020]


def entries(monkeypatch: pytest.MonkeyPatch, users: list[tuple[str, int]], members: list[str] | None) -> None:
    """A password database of (name, primary gid), and the members of every group; None: no such group."""
    found = {name: pwd.struct_passwd((name, "x", 1001, gid, "", "/", "")) for name, gid in users}
    monkeypatch.setattr(pwd, "getpwnam", found.__getitem__)
    monkeypatch.setattr(pwd, "getpwall", lambda: list(found.values()))
    groups = {} if members is None else {gid: grp.struct_group(("g", "x", gid, members)) for _, gid in users}
    monkeypatch.setattr(grp, "getgrgid", groups.__getitem__)


@pytest.mark.parametrize(
    ("users", "members", "shared"),
    [
        ([("Alice", 1002)], Given(), False),
        ([("Alice", 1002)], ["Alice"], False),
        ([("Alice", 1002)], None, False),
        ([("Alice", 1002), ("Bob", 1003)], Given(), False),
        ([("Alice", 1002), ("Bob", 1002)], Given(), True),
        ([("Alice", 1002)], ["Alice", "Bob"], True),
    ],
)
def test_a_primary_group_is_private_if_nobody_else_is_in_it(
    monkeypatch: pytest.MonkeyPatch, users: list[tuple[str, int]], members: list[str] | None, shared: bool
) -> None:
    """Neither as his primary group nor as a member."""
    entries(monkeypatch, users, members)
    assert HostAccounts().find("Alice") == Account(1001, 1002, shared)


def test_a_directory_that_ignores_case_has_no_other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer under another spelling is another's account."""
    entries(monkeypatch, [("alice", 1002)], [])
    monkeypatch.setattr(pwd, "getpwnam", lambda name: pwd.struct_passwd(("alice", "x", 1001, 1002, "", "/", "")))
    assert HostAccounts().find("Alice") is None
    assert HostAccounts().find("alice") is not None
