import pytest
import torch
from torch import nn

from striate import zoo
from striate.layers.nas_cell import Cell


def on_meta(name: str, **options) -> nn.Module:
    with torch.device("meta"):
        return zoo.build(name, **options).eval()


def stages(net: nn.Module) -> list[nn.ModuleList]:
    return [net.stages.cells1, net.stages.cells2, net.stages.cells3]


@pytest.mark.parametrize(("name", "n", "c"), [("nasnet_mobile", 4, 44), ("nasnet_large", 6, 168)])
def test_cells_widen_where_they_reduce(name, n, c):
    """n @ 24 c: arXiv:1707.07012, section 4.2; each normal cell gives 6 times its filters, each reduction 4 times."""
    net = on_meta(name)
    widths = [[cell.c_out for cell in stage] for stage in stages(net)]
    assert widths == [[6 * c] * n, [8 * c] + [12 * c] * n, [16 * c] + [24 * c] * n]


@pytest.mark.parametrize("name", ["nasnet_mobile", "nasnet_large"])
def test_what_the_cell_after_a_reduction_reads(name):
    """In the mobile network the reduction's own input, in the large one what the reduction had read before it."""
    net, read, given = on_meta(name), [], []
    for stage in stages(net):
        for cell in stage:
            cell.register_forward_pre_hook(lambda _m, x: read.append(x))
            cell.register_forward_hook(lambda _m, _x, y: given.append(y))
    net(torch.empty(1, 3, 64, 64, device="meta"))
    for stage in stages(net)[1:]:
        i = [cell for s in stages(net) for cell in s].index(stage[0])
        x, p = read[i + 1]
        assert x is given[i]
        assert p is read[i][1 if name == "nasnet_large" else 0]


def test_the_stem_has_two_reduction_cells_of_a_quarter_and_half_the_filters():
    net = on_meta("nasnet_large")
    assert [net.stem.cell1.c_out, net.stem.cell2.c_out] == [4 * 168 // 4, 4 * 168 // 2]
    assert all(isinstance(m, Cell) and m.stride == 2 for m in (net.stem.cell1, net.stem.cell2))


def test_where_the_padding_of_strided_pools_counts():
    """Of a map of -2 a mean over padding is nearer to 0, and a zero is the maximum."""
    x = torch.full((1, 1, 4, 4), -2.0)
    kept, thirds = [[-2, -2], [-2, -2]], [[-2, -4 / 3], [-4 / 3, -8 / 9]]
    expected = {"nowhere": (kept, kept), "average": (kept, thirds), "everywhere": ([[-2, 0], [0, 0]], thirds)}
    for where, (largest, mean) in expected.items():
        cell = on_meta("nasnet_mobile", padding_counts=where).stem.cell1
        torch.testing.assert_close(cell.blocks[1].left(x)[0, 0], torch.tensor(largest).float())
        torch.testing.assert_close(cell.blocks[2].left(x)[0, 0], torch.tensor(mean).float())
        assert (cell.blocks[3].left(x) == -2).all()  # what doesn't shrink the map leaves its padding out
