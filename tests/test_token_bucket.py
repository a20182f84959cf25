"""A rate with a burst."""

from user_wsgi_wrapper.emperor_hook.token_bucket import TokenBucket


def test_the_burst_then_the_rate_then_the_burst_again():
    now = [100.0]
    bucket = TokenBucket(2.0, 5.0, lambda: now[0])
    assert [bucket.take() for _ in range(7)] == [True] * 5 + [False] * 2
    now[0] += 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]
    now[0] += 1000
    assert [bucket.take() for _ in range(7)] == [True] * 5 + [False] * 2


def test_asking_in_vain_costs_nothing():
    """Who is refused a thousand times gets the next token as soon as anybody."""
    now = [0.0]
    bucket = TokenBucket(1.0, 1.0, lambda: now[0])
    assert bucket.take()
    for _ in range(1000):
        now[0] += 0.0005
        assert not bucket.take()
    now[0] += 0.51
    assert bucket.take()
