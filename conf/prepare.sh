# Sourced by conf/demo and tests/run: installs what is missing, says what it installs.
# Needs root and Debian 12's apt. Nothing that is already there is changed, and no service is started:
# a policy-rc.d that forbids starting stands while apt works, and is taken away again.

say() { printf '%s\n' "$*" >&2; }

die() { say "$0: $*"; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "must run as root (it makes chroots and mounts)"; }

# need_passable_root: a / that only root may enter (an image unpacked carelessly) shuts out nginx's workers, PostgreSQL…
need_passable_root() {
    case $(stat -c %A /) in
        *x | *t) ;;
        *) say "/ can be entered by root alone: giving it the mode that Debian gives it, 755"; chmod 755 / ;;
    esac
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" = "ii " ]; }

# leave_disabled SERVICE: what was installed here for its program alone must not begin to run at the next boot.
leave_disabled() {
    deb-systemd-helper disable "$1.service" >/dev/null 2>&1 || true
    update-rc.d "$1" disable >/dev/null 2>&1 || true
}

# need_packages NAME[:PROGRAM]...: install the Debian packages that are missing. Where the program is there, whichever
# package it is from, nothing is installed.
need_packages() {
    missing=
    for package; do
        is_installed "${package%%:*}" || [ -x "${package#*:}" ] || missing="$missing ${package%%:*}"
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || die "missing:$missing, and there is no apt-get to install them with"
    say "installing Debian packages:$missing"
    policy=/usr/sbin/policy-rc.d
    kept=
    if [ -e "$policy" ]; then kept=$policy.kept.$$; mv "$policy" "$kept"; fi
    trap 'rm -f "$policy"; [ -z "$kept" ] || mv "$kept" "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # the list is words of our own
    if ! { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "apt-get failed; its whole output is in $log"
    fi
    for package in $missing; do
        case $package in
            nginx-light) leave_disabled nginx ;;
            mariadb-server) leave_disabled mariadb ;;
            postgresql) leave_disabled postgresql ;;
            rsyslog) leave_disabled rsyslog ;;
        esac
    done
    rm -f "$log" "$policy"
    [ -z "$kept" ] || mv "$kept" "$policy"
    trap - EXIT INT TERM
}

# need_venv DIR EXTRA: a virtual environment with this checkout and what it needs; made again when setup.cfg changes.
need_venv() {
    venv=$1 extra=$2
    stamp=$venv/.stamp-$(printf '%s' "$extra" | tr ',' '-')
    [ -x "$venv/bin/python" ] && [ "$stamp" -nt setup.cfg ] && return 0
    say "installing Python packages into $venv"
    [ -x "$venv/bin/python" ] || /usr/bin/python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e ".${extra:+[$extra]}" ||
        die "pip could not install the Python packages"
    touch "$stamp"
}
