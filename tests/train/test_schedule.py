"""Schedules at the points that can be worked out by hand."""

import pytest

from striate.train.schedule import factor, grown, rules


@pytest.mark.parametrize(
    ("name", "done", "share"),
    [
        ("constant", 0.0, 1.0),
        ("constant", 0.99, 1.0),
        ("step", 0.49, 1.0),
        ("step", 0.5, 0.1),
        ("step", 0.75, 0.01),
        ("cosine", 0.1, 0.5),  # half of the climb over the first fifth
        ("cosine", 0.2, 1.0),
        ("cosine", 0.6, 0.5),  # half of the fall: (1 + cos(pi/2)) / 2
        ("cosine", 1.0, 0.0),
        ("one-cycle", 0.0, 0.01),
        ("one-cycle", 0.1, 0.5),
        ("one-cycle", 0.2, 1.0),
        ("one-cycle", 0.6, 1 - 0.99 * 0.5),
        ("one-cycle", 1.0, 0.01),
    ],
)
def test_share_of_the_peak(name, done, share):
    assert factor(name, done, warmup=0.2) == pytest.approx(share)


def test_without_warm_up_the_run_starts_at_the_peak():
    assert factor("cosine", 0.0, warmup=0.0) == 1.0
    assert factor("one-cycle", 0.0, warmup=0.0) == 1.0


def test_rules_hold_from_the_start_of_their_epoch():
    text = "10:0.1,3:0.5,20:0.01"
    shares = {e: factor(text, 0.0, epoch=e) for e in (1, 2, 3, 9, 10, 19, 20, 99)}
    assert shares == {1: 1.0, 2: 1.0, 3: 0.5, 9: 0.5, 10: 0.1, 19: 0.1, 20: 0.01, 99: 0.01}
    assert factor("plateau", 0.9) == 1.0


@pytest.mark.parametrize("text", ["0:0.1", "1:-2", "1:e", "1:0.1,1:0.2", "1:1000"])
def test_rules_that_make_no_sense_are_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        rules(text)


def test_images_grow_by_eighths_of_the_full_size_in_three_quarters_of_the_run():
    assert [grown((32, 64), 0.5, done) for done in (0, 0.18, 0.19, 0.37, 0.38, 0.57, 0.74, 0.75, 1)] == [
        *[(16, 32)] * 2,
        *[(20, 40)] * 2,
        (24, 48),
        *[(28, 56)] * 2,
        *[(32, 64)] * 2,
    ]


def test_images_are_never_smaller_than_was_asked_for():
    assert grown((100, 100), 0.6, 0.0) == (60, 60)
    assert grown((100, 100), 0.6, 0.1) == (62, 62)  # 62.5: five eighths
    assert grown((3, 1), 0.1, 0.0) == (1, 1)
