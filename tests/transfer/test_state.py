import pytest
import torch
from torch import nn

from striate.errors import DataError, UsageError
from striate.layers.chain import chain
from striate.transfer.state import load_state


def net() -> nn.Sequential:
    return chain(fc=nn.Linear(8, 2), bn=nn.BatchNorm1d(2))


NAMES = {"fc": "theirs", "bn": "norm"}


def state() -> dict[str, torch.Tensor]:
    values = {
        f"{NAMES[key.split('.')[0]]}.{key.split('.')[1]}": torch.randn(v.shape)
        for key, v in net().state_dict().items()
    }
    return {key: value for key, value in values.items() if "num_batches" not in key}


def test_a_convolution_fills_a_dense_layer_with_as_many_weights():
    given = state()
    given["theirs.weight"] = given["theirs.weight"].reshape(2, 2, 2, 2)
    ours = net()
    load_state(ours, NAMES, given, "peer")
    assert torch.equal(ours.fc.weight, given["theirs.weight"].flatten(1))
    assert torch.equal(ours.bn.running_var, given["norm.running_var"])


def test_a_network_on_the_meta_device_becomes_the_weights():
    with torch.device("meta"):
        ours = net()
    load_state(ours, NAMES, state(), "peer")
    assert not any(t.is_meta for t in (*ours.parameters(), *ours.buffers()))
    assert ours.bn.num_batches_tracked == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_network_stays_in_single_precision(dtype, device):
    with torch.device(device):
        ours = net()
    given = state() | {"theirs.bias": torch.tensor([0.5, 2.0])}
    load_state(ours, NAMES, {key: value.to(dtype) for key, value in given.items()}, "peer")
    assert {v.dtype for k, v in ours.state_dict().items() if "num_batches" not in k} == {torch.float32}
    assert ours.bn.num_batches_tracked.dtype == torch.int64
    assert ours.fc.bias.tolist() == [0.5, 2.0]


@pytest.mark.parametrize(
    ("bias", "says"),
    [
        (torch.ones(2, dtype=torch.int64), "hold int64 under 'theirs.bias', expected floating-point numbers"),
        (torch.ones(2, dtype=torch.complex64), "hold complex64 under 'theirs.bias', expected floating-point"),
        (torch.ones(2).to(torch.float8_e5m2), "hold float8_e5m2 under 'theirs.bias'"),
        (torch.tensor([0.0, torch.nan]), "hold NaN or infinity under 'theirs.bias'"),
        (torch.tensor([0.0, 1e300], dtype=torch.float64), "hold NaN or infinity under 'theirs.bias'"),
    ],
)
def test_what_can_not_be_computed_with_is_named(bias, says):
    ours = net()
    before = ours.fc.weight.clone()
    with pytest.raises(DataError, match=f"these peer weights {says}"):
        load_state(ours, NAMES, state() | {"theirs.bias": bias}, "peer")
    assert torch.equal(ours.fc.weight, before)


def test_nothing_is_copied_when_something_does_not_fit():
    ours, given = net(), state()
    before = ours.fc.weight.clone()
    given["theirs.bias"] = torch.zeros(3)
    del given["norm.weight"]
    given["extra.weight"] = given["spare.weight"] = torch.zeros(1)
    with pytest.raises(UsageError) as caught:
        load_state(ours, NAMES, given, "peer", spare=("spare.",))
    assert str(caught.value) == (
        "these peer weights do not fit: 1 missing (norm.weight); 1 unexpected (extra.weight); "
        "1 of another shape (theirs.bias: (3,) instead of (2,))"
    )
    assert torch.equal(ours.fc.weight, before)
