"""The outline that the loop prints of itself is what it does."""

from striate.train.events import Listener, State, hears, programme, tell


class Hears(Listener):
    def __init__(self):
        self.heard = []

    def on_epoch(self, state):
        self.heard.append(state.epoch)


class Odd:
    """No Listener, and deaf to all but the end."""

    def on_end(self, state):
        state.stop = "odd"


def test_who_hears_what():
    first, second, state = Hears(), Odd(), State(2, 1)
    assert [hears(first, e) for e in ("on_step", "on_epoch")] == [False, True]
    assert [hears(second, e) for e in ("on_step", "on_end")] == [False, True]
    for event in ("on_start", "on_epoch", "on_end"):
        tell([first, second], event, state)
    assert first.heard == [1]
    assert state.stop == "odd"


def test_the_outline():
    assert programme([Hears(), Odd()], ["step"], "average").splitlines() == [
        "save the state",
        "on_start: nobody listens",
        "for every epoch:",
        "  for every batch:",
        "    step",
        "    on_step: nobody listens",
        "  average",
        "  measure the validation split",
        "  on_epoch: Hears",
        "  save the state, if that costs little enough",
        "on_end: Odd",
    ]
