"""What `--help` of each command says beside its options: what it does, what follows from it, examples."""

from __future__ import annotations

# by the name of the command's function: what it does, and what stands under the options
TEXTS: dict[str, tuple[str, str]] = {
    "up": (
        "Run nginx, the Emperor and initialize in the foreground until Ctrl-C or SIGTERM; sites wake as they are "
        "asked for. In the end no process and no mount is left. The machine's own nginx is left alone.",
        """\
example:
  user-wsgi-wrapper --root /tmp/try up --port 8080""",
    ),
    "check": (
        "With DOMAIN: look at all that its requests need, in their order - the services, the registry, the "
        "tenant's ids, room on the disks, the chroot and its mounts, the application's file, the virtual "
        "environment, the vassal, the socket, the last version of the code - and say what is wrong and what to do "
        "about it; then the last lines of its life and its last failure. The tenant's files are looked at with "
        "the tenant's own ids. Nothing is changed, and a sleeping site isn't woken. Without DOMAIN: say what this "
        "machine lacks.",
        """\
exit status: 0 nothing stands in the way, 1 something does, 2 wrong usage

examples:
  user-wsgi-wrapper check
  user-wsgi-wrapper check www.example.org""",
    ),
    "explain": (
        "Follow a GET of URL as the servers do: by which site, mapping and file it is answered, what was looked "
        "at before and why that wasn't it, with the owner and the mode of what is in the way. Nothing is asked of "
        "the site, so it isn't woken. A static folder that was made after a site had started is served by the "
        "wrapper's own rules until the site starts anew: those leave out names that begin with a dot.",
        """\
exit status: 0 a file or the application answers, 1 none does or something is in the way,
  2 wrong usage

example:
  user-wsgi-wrapper explain http://www.example.org/static/site.css""",
    ),
    "collect": (
        "Write a tar.gz with what somebody who helps needs to know of a site: what `check` and `explain` say, its "
        "settings, vassal, configuration, versions, and the last lines of its logs. Taken out: the values of its "
        "environment, wherever they stand, but for a few that are known to be harmless; passwords in URLs; what "
        "is called password, secret, token or API key. Values shorter than five characters are taken out of the "
        "settings only. What the site's own code wrote into its logs otherwise, and its visitors' addresses, are "
        "in: read it before you pass it on.",
        """\
examples:
  user-wsgi-wrapper collect www.example.org -o site.tar.gz
  user-wsgi-wrapper collect www.example.org -n 5000 | ssh helper 'cat >site.tar.gz'""",
    ),
    "cool": (
        "Make sites cold, as if they had never been asked for: the next request writes the vassal anew, completes "
        "the chroot and starts the site. Their requests that have begun are finished.",
        """\
example:
  user-wsgi-wrapper cool www.example.org""",
    ),
    "configure": (
        "Write the configurations of nginx, the Emperor and initialize, and print where they are. For systemd's "
        "units, which start the servers with them; `up` does it by itself.",
        "",
    ),
    "site_add": (
        "Add a site and make its tenant's folders; it wakes on its first request, and nothing is restarted for "
        "it. All values are checked before anything is changed.",
        """\
examples:
  user-wsgi-wrapper site add www.example.org --user Alice
  user-wsgi-wrapper site add blog.example.org --user Alice --virtualenv /home/Alice/venv \\
      --static /static=/var/www/blog/static --static /media=/home/Alice/media --env MODE=production""",
    ),
    "site_set": (
        "Change what is named of a site, nothing else; a running one takes it up without losing a request. "
        "--static replaces all mappings, --env sets one variable.",
        """\
example:
  user-wsgi-wrapper site set www.example.org --processes 2 --static '' --unset-env DEBUG""",
    ),
    "site_remove": (
        "End a site's processes and forget it; with its tenant's last site all processes of the tenant's end, and "
        "the chroot goes. Files and logs are kept unless --purge is given. What was stopped half-way can be done "
        "again.",
        "",
    ),
    "site_list": (
        "List the sites that were added, ordered by domain; not those of a lookup query.",
        "",
    ),
    "site_show": (
        "Show all settings of a site, of one that was added or that the lookup query tells of.",
        "",
    ),
    "site_import": (
        "Add all sites of a file, or none: each bad value is told in a line with the file, the line, the value "
        "and the rule. What can't be carried over, and what is left to do (files to copy, virtual environments to "
        "make), is told in a line each, too. Only the registry and the tenants' folders are changed: no file is "
        "copied.",
        """\
what is read:
  csv     a heading with domain, username and any other columns of `site export`;
          an empty cell means none
  json    an object a line, as `site export --format json` writes it
  apache  <VirtualHost> sections with WSGIScriptAlias, WSGIDaemonProcess, Alias, SetEnv
  piku    a folder with apps/*/Procfile and envs/*/ENV

exit status: 0 all were added, 1 failed, 2 at least one can't be: none was

examples:
  user-wsgi-wrapper site import --dry-run sites.csv
  user-wsgi-wrapper site import /etc/apache2/sites-available/shop.conf --user Carol
  user-wsgi-wrapper site import ~piku/.piku""",
    ),
    "site_export": (
        "Write all sites that were added to standard output, as `site import` reads them on any machine. Their "
        "environments are in it with all secrets: keep it as you keep those.",
        """\
example:
  (umask 077; user-wsgi-wrapper site export >sites.csv)""",
    ),
    "reload": (
        "Reload a site's code, as its tenant does by touching wsgi.py, and wait for the outcome. Code that can't "
        "be loaded is refused: the version before it goes on serving, and the traceback is printed.",
        """\
exit status: 0 the new code serves, 1 it was refused or can't be told, 2 wrong usage""",
    ),
    "status": (
        "Show how sites are: cold (never asked for), idle (asleep), running, broken deploy (the last code was "
        "refused, an earlier version serves) or broken (visitors get the error page); their memory and processes.",
        """\
example:
  user-wsgi-wrapper status --json | jq -r '.[] | select(.state | test("broken")) | .domain'""",
    ),
    "reap": (
        "End tenants' processes that no living Emperor owns: what is left of a stack that was killed. systemd's "
        "timer does so every few minutes.",
        "",
    ),
    "logs": (
        "Print the end of one of a site's three logs: what its code raised and wrote to stderr (error), the "
        "requests (access), or the server's own lines and what the code prints (server).",
        """\
A record is whole or not there: a traceback is found with its first line and by it. Logs
that were rotated and compressed are read too, from the newest on as far as is needed. On
a terminal, levels and statuses are in color (unless NO_COLOR is set) and what a terminal
would obey is shown as text; a pipe gets every byte as it is.

examples:
  user-wsgi-wrapper logs www.example.org -f
  user-wsgi-wrapper logs www.example.org --request 3f9c2a71d0b4
  user-wsgi-wrapper logs www.example.org --kind all --since 30m
  user-wsgi-wrapper logs www.example.org --kind access --grep '" 50[0-9] ' -n 20""",
    ),
    "token_list": (
        "List the tokens that log in to the pages: their names, whose sites they are for, and when they were made. "
        "The tokens themselves are kept as hashes, and shown nowhere.",
        "",
    ),
    "token_revoke": (
        "Forget a token. Whoever is logged in with it is logged out, live logs and all; what was done stays.",
        "",
    ),
    "serve": (
        "Serve one WSGI application on 127.0.0.1, with no other server and no rights: the same error log, error "
        "page and static files as on a hosted site. Saving or touching the file reloads it. Ctrl-C ends it.",
        """\
example:
  user-wsgi-wrapper serve wsgi.py --port 8000""",
    ),
}
