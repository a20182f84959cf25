"""The pages that visitors see: valid, escaped, and with the headers that say when to come again."""

import json
from html.parser import HTMLParser

import pytest
from werkzeug.datastructures import MIMEAccept

from user_wsgi_wrapper.emperor_hook import pages

ALL = [value for value in vars(pages).values() if isinstance(value, pages.Page)]
VOID = {"meta", "br", "link", "input", "img", "hr"}  # HTML Living Standard section 13.1.2
NASTY = "<script>alert('x')</script>&amp;\"$title"


class Document(HTMLParser):
    """The elements and the text of a page; fails on one that is closed wrongly."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.text, self.attributes, self.doctype = [], [], [], [], None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_decl(self, decl):
        self.doctype = decl

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def html(page, request_id="0123456789ab"):
    return Document(pages.answer(page, MIMEAccept(), request_id).get_data(as_text=True))


def test_there_are_pages_to_test():
    assert len(ALL) >= 8


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.title)
def test_every_page_is_a_whole_document(page):
    """A doctype, a language, one title, one heading, the text and the request's id."""
    document = html(page)
    assert document.doctype.lower() == "doctype html"
    assert ("html", {"lang": "en"}) in document.attributes
    assert (document.seen.count("title"), document.seen.count("h1")) == (1, 1)
    assert document.text.count(page.title) == 2
    assert page.text in document.text
    assert "0123456789ab" in document.text
    assert ("meta", {"charset": "utf-8"}) in document.attributes


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.title)
@pytest.mark.parametrize("kind", ["text/html", "application/json"])
def test_every_answer_says_what_it_is(page, kind):
    """Status, type, id, not to be stored, and Retry-After where it makes sense to come again (RFC 9110 10.2.3)."""
    response = pages.answer(page, MIMEAccept([(kind, 1)]), "0123456789ab")
    assert response.status_code == page.status
    assert response.content_type == f"{kind}; charset=utf-8"
    assert response.headers["X-Request-ID"] == "0123456789ab"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers.get("Retry-After") == (None if page.retry_after is None else str(page.retry_after))
    assert (page.status == 503) == (page.retry_after is not None)


@pytest.mark.parametrize("field", ["title", "text", "request_id"])
def test_nothing_on_a_page_is_markup_by_accident(field):
    """Whatever stands in a title, a text or an id is shown as it is."""
    values = {"title": "A title", "text": "A text", field: NASTY}
    request_id = values.pop("request_id", "0123456789ab")
    document = html(pages.Page(500, **values), request_id)
    assert "script" not in document.seen
    assert NASTY in document.text or NASTY in "".join(document.text)


def test_json_is_one_whole_object():
    """The id and the status stand in it, and any text survives."""
    page = pages.Page(500, NASTY, 'quote " \\ \u2028 é')
    body = pages.answer(page, MIMEAccept([("application/json", 1)]), "id").get_data()
    assert json.loads(body) == {"status": 500, "title": page.title, "detail": page.text, "request_id": "id"}


def test_only_the_waiting_page_looks_again_by_itself():
    """A page that refreshed a POST, or a failure, would repeat it for ever."""
    for page in ALL:
        refreshes = [
            attributes for tag, attributes in html(page).attributes if attributes.get("http-equiv") == "refresh"
        ]
        assert refreshes == (
            [{"http-equiv": "refresh", "content": str(pages.REFRESH)}] if page is pages.WAKING else []
        )
