"""The last layers of a Keras network: those of `keras.applications`, or a head of one's own on their base."""

from collections.abc import Iterable, Mapping

import numpy as np

from striate.transfer.keras_config import Described

State = dict[str, np.ndarray]


def with_own_head(
    state: State, wanted: Iterable[str], scorer: str, width: int, described: Described
) -> tuple[State, tuple[str, ...]]:
    """The state with a dense layer of one's own under the name of the `scorer`, and what is to be said of it.

    `wanted` are the keys of the network, `width` is how many features it scores. A head of another kind is left out.
    One score, which a sigmoid makes a probability, becomes the scores of two classes, 0 and itself.
    """
    names = {key.partition("/")[0] for key in wanted}
    own = list(dict.fromkeys(layer for key in state if (layer := key.partition("/")[0]) not in names))
    base = {key: value for key, value in state.items() if key.partition("/")[0] not in own}
    there = f"{scorer}/kernel" in state
    shapes = [value.shape for key, value in state.items() if key.partition("/")[0] in own and value.ndim > 1]
    one = not there and len(own) == 1 and [shape[:-1] for shape in shapes] == [(width,)]
    if own and not (one and described.plain):
        if there:  # unnamed layers beside the head: another network
            return state, ()
        return base, (f"the head was left out ({', '.join(own)}): no mean with one dense layer",)
    if own:
        base |= {
            f"{scorer}/{key.partition('/')[2]}": value for key, value in state.items() if key not in base
        }
    elif there and not described.plain:
        return {k: v for k, v in base.items() if not k.startswith(f"{scorer}/")}, ("the head was left out",)
    return _two_classes(base, scorer), _said(base, scorer, described)


def _two_classes(state: State, scorer: str) -> State:
    ours = {
        key: value for key, value in state.items() if key.startswith(f"{scorer}/") and value.shape[-1] == 1
    }
    return state | {key: np.concatenate([np.zeros_like(value), value], -1) for key, value in ours.items()}


def _said(state: Mapping[str, np.ndarray], scorer: str, described: Described) -> tuple[str, ...]:
    kernel = state.get(f"{scorer}/kernel")
    if kernel is None or described.activation in ("linear", "softmax"):
        return ()
    if described.activation == "sigmoid" and kernel.shape[-1] == 1:
        return ()
    return (f"its scores end in {described.activation}, here they are taken for logits",)
