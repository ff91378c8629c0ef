import pytest
import torch
from torch import nn

from striate.errors import UsageError
from striate.layers.nas_cell import (
    NASNET_A_NORMAL,
    NASNET_A_REDUCTION,
    OPERATIONS,
    Block,
    Cell,
    CellPlan,
    factorised_reduction,
)

SEEN = {  # (height, width, number of pixels) that one output pixel depends on
    "identity": (1, 1, 1),
    "conv1x3_3x1": (3, 3, 9),
    "conv1x7_7x1": (7, 7, 49),
    "conv1x1": (1, 1, 1),
    "conv3x3": (3, 3, 9),
    "dilated3x3": (5, 5, 9),
    "separable3x3": (5, 5, 25),  # twice
    "separable5x5": (9, 9, 81),
    "separable7x7": (13, 13, 169),
    "average3x3": (3, 3, 9),
    "max3x3": (3, 3, 9),
    "max5x5": (5, 5, 25),
    "max7x7": (7, 7, 49),
}


def test_the_space_has_13_operations():
    assert OPERATIONS.keys() == SEEN.keys()
    assert len(OPERATIONS) == 13


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_sees_what_its_name_says(name):
    net = OPERATIONS[name](1, 1, 1).eval()
    for p in net.parameters():
        nn.init.ones_(p)
    changed = 1 + torch.eye(19 * 19).reshape(-1, 1, 19, 19)  # one pixel of an image of ones in each
    with torch.no_grad():
        matters = net(changed)[:, 0, 9, 9] != net(torch.ones(1, 1, 19, 19))[0, 0, 9, 9]
    rows, columns = matters.reshape(19, 19).nonzero(as_tuple=True)
    assert (span(rows), span(columns), len(rows)) == SEEN[name]


def span(places: torch.Tensor) -> int:
    return int(places.max() - places.min()) + 1


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("side", [8, 9])
def test_strided_operation_halves_and_rounds_up(name, side):
    net = OPERATIONS[name](4, 6, 2)
    assert net(torch.randn(2, 4, side, side)).shape == (2, 6, (side + 1) // 2, (side + 1) // 2)


def test_pool_is_a_pool_where_channels_stay():
    x = torch.randn(1, 3, 6, 6)
    torch.testing.assert_close(OPERATIONS["max5x5"](3, 3, 1)(x), nn.MaxPool2d(5, 1, 2)(x))
    average = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(OPERATIONS["average3x3"](3, 3, 1)(x), average(x))


def test_factorised_reduction_loses_no_pixel():
    """Its two halves read the even and the odd diagonal of every 2 x 2."""
    net = factorised_reduction(1, 2).eval()
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.ones_(m.weight)
    x = torch.arange(1.0, 26).reshape(1, 1, 5, 5)
    y = net(x)[0] * (1 + 1e-3) ** 0.5
    torch.testing.assert_close(y[0], x[0, 0, ::2, ::2])
    torch.testing.assert_close(y[1], nn.functional.pad(x[0, 0, 1::2, 1::2], (0, 1, 0, 1)))


def bare(plan: CellPlan, **options) -> Cell:
    """A cell that takes its inputs as they are."""
    cell = Cell(plan, 3, 3, 3, **options)
    cell.current = cell.previous = nn.Identity()
    return cell


def test_cell_adds_and_concatenates_what_its_plan_says():
    x, p = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    plan = CellPlan((Block(0, "identity", 1, "identity"), Block(0, "identity", 2, "max3x3", "concat")))
    expected = torch.cat((x, nn.MaxPool2d(3, 1, 1)(x + p)), dim=1)
    cell = bare(plan)
    torch.testing.assert_close(cell(x, p), expected)
    assert cell.c_out == 6


def test_all_that_no_block_reads_leaves():
    plan = CellPlan(
        (
            Block(0, "conv1x1", 1, "conv1x1"),
            Block(2, "identity", 0, "max3x3"),
            Block(0, "identity", 1, "identity"),
        )
    )
    assert plan.leaving() == (3, 4)


def test_only_what_reads_the_inputs_strides():
    plan = CellPlan((Block(0, "max3x3", 1, "max3x3"), Block(2, "max3x3", 2, "identity")))
    x = torch.randn(1, 3, 7, 7)
    block = 2 * nn.MaxPool2d(3, 2, 1)(x)
    torch.testing.assert_close(bare(plan, stride=2)(x, x), nn.MaxPool2d(3, 1, 1)(block) + block)


@pytest.mark.parametrize(("plan", "stride", "filters"), [(NASNET_A_NORMAL, 1, 6), (NASNET_A_REDUCTION, 2, 4)])
def test_nasnet_cells_give_6_and_4_times_their_filters(plan, stride, filters):
    cell = Cell(plan, 20, 10, 8, stride, p_stride=2)
    x, p = torch.randn(1, 20, 7, 7), torch.randn(1, 10, 13, 13)
    side = {1: 7, 2: 4}[stride]
    assert cell(x, p).shape == (1, filters * 8, side, side)
    assert cell.c_out == filters * 8


def test_a_plan_that_reads_the_future_or_an_unknown_operation_is_refused():
    with pytest.raises(UsageError, match="block 0 reads state 2, but only 0 to 1 exist before it"):
        Cell(CellPlan((Block(0, "conv1x1", 2, "conv1x1"),)), 3, 3, 3)
    with pytest.raises(UsageError, match="unknown operation 'conv3'") as caught:
        Cell(CellPlan((Block(0, "conv3", 1, "conv1x1"),)), 3, 3, 3)
    assert "conv3x3" in caught.value.hint
