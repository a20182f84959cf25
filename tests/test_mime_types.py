"""The table of media types that vassals read."""

from user_wsgi_wrapper.emperor_hook import mime_types
from user_wsgi_wrapper.emperor_hook.mime_types import shortened

HOST = """\
# comment
text/html\t\thtml htm # another
text/css css
application/vnd.acme.thing\tacme
application/vnd.android.package-archive apk
application/vnd.openxml.document docx
chemical/x-pdb pdb
audio/midi kar mid
audio/x-other kar
application/prs.rare rare
application/octet-stream
"""
FRONT = """
types {
    text/html                 html htm shtml;
    application/front.docx    docx;
    audio/midi                mid;
}
"""


def test_what_no_site_shows_is_left_out_and_what_the_front_knows_is_there():
    """The host's type is the type of what both know, its first of what it knows twice."""
    assert sorted(shortened(HOST, FRONT).splitlines()) == [
        "application/vnd.android.package-archive\tapk",
        "application/vnd.openxml.document\tdocx",
        "audio/midi\tkar",
        "audio/midi\tmid",
        "text/css\tcss",
        "text/html\thtm",
        "text/html\thtml",
        "text/html\tshtml",
    ]


def test_without_a_table_there_is_none():
    assert shortened("", "") == ""


def test_the_host_s_table_becomes_much_shorter_and_keeps_what_is_common(tmp_path, monkeypatch):
    table = dict(reversed(line.split("\t")) for line in mime_types.render().splitlines()[1:])
    assert len(table) < 900
    common = (
        "html css js json png jpg webp svg woff2 mp4 pdf docx odt xlsx csv md ics zip tar wasm kml apk xml txt ico"
    )
    assert set(common.split()) <= set(table)
    before = mime_types.state()
    monkeypatch.setattr(mime_types, "HOST", tmp_path / "missing")
    assert mime_types.state() != before
    assert "text/html\thtml\n" in mime_types.render()
