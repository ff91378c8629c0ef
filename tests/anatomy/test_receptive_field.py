"""Receptive fields against published tables, against TF-Slim's unit networks, and against the gradient's support."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from striate.anatomy import Anatomy, anatomy
from striate.anatomy.receptive_field import Field, receptive_fields
from striate.diagram.graph import trace


def fields(net: nn.Module, shape: tuple[int, ...]) -> list[Field]:
    return receptive_fields(trace(net, shape))


def last_map(a: Anatomy) -> Field:
    return [f for f in a.fields if any(f.axes)][-1]


Measured = Callable[[str], Anatomy]

PUBLISHED = {  # size, stride, padding; Araujo et al., 2019, table on the stride convention of torchvision
    "alexnet": (195, 32, 66),
    "vgg11": (150, 32, 59),
    "vgg13": (156, 32, 62),
    "vgg16": (212, 32, 90),
    "vgg19": (268, 32, 118),
    "resnet18": (435, 32, 217),
    "resnet34": (899, 32, 449),
    "resnet50": (427, 32, 213),
    "resnet101": (971, 32, 485),
    "resnet152": (1451, 32, 725),
    "densenet121": (2071, 32, 1021),
    "densenet161": (2967, 32, 1469),
    "densenet169": (3351, 32, 1661),
    "densenet201": (3863, 32, 1917),
    "inception_v3": (1311, 32, 618),
    "mobilenet_v2": (491, 32, 245),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_fields(name: str, measured: Measured) -> None:
    a = measured(name)
    size, jump, padding = PUBLISHED[name]
    assert (a.receptive_field, a.jump, a.padding) == ((size, size), (jump, jump), (padding, padding))


def test_where_resnet50_puts_its_stride_shows_in_the_field(peer: Callable[[str], nn.Module]) -> None:
    net = peer("resnet50")
    for block in net.modules():
        if isinstance(block, torchvision.models.resnet.Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    a = anatomy(net, (3, 224, 224))
    assert (a.receptive_field, a.padding) == ((483, 483), (241, 241))


INCEPTION_V3 = {  # layer by layer: Szegedy et al., 2015, through TF-Slim's names
    "Conv2d_1a_3x3": (3, 2, 0),
    "Conv2d_2a_3x3": (7, 2, 0),
    "Conv2d_2b_3x3": (11, 2, 2),
    "maxpool1": (15, 4, 2),
    "Conv2d_3b_1x1": (15, 4, 2),
    "Conv2d_4a_3x3": (23, 4, 2),
    "maxpool2": (31, 8, 2),
    "Mixed_5b": (63, 8, 18),
    "Mixed_5c": (95, 8, 34),
    "Mixed_5d": (127, 8, 50),
    "Mixed_6a": (159, 16, 58),
    "Mixed_6b": (351, 16, 154),
    "Mixed_6e": (927, 16, 442),
    "Mixed_7a": (1055, 32, 490),
    "Mixed_7b": (1183, 32, 554),
    "Mixed_7c": (1311, 32, 618),
}


def test_every_stage_of_inception_v3(measured: Measured) -> None:
    a = measured("inception_v3")
    found = {n.path.partition(".")[0]: f for n, f in zip(a.graph.nodes, a.fields, strict=True)}
    for name, (size, jump, padding) in INCEPTION_V3.items():
        f = found[name]
        assert (f.size((299, 299)), f.jump, f.padding) == ((size, size), (jump, jump), (padding, padding)), (
            name
        )


def conv(k: int | tuple[int, int], stride: int = 1, pad: int = 0, c_in: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, 1, k, stride, pad)


class Two(nn.Module):
    """relu(left(x) + right(x)), the pattern of the unit networks of Araujo et al."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.left(x) + self.right(x))


def padded() -> nn.Sequential:
    return nn.Sequential(nn.ZeroPad2d((1, 0, 1, 0)), conv(3, 2), conv(1, 2))


def same(size: int, k: int, stride: int) -> nn.Sequential:
    """TensorFlow's SAME at this input size."""
    total = max((-(-size // stride) - 1) * stride + k - size, 0)
    before = total // 2
    return nn.Sequential(nn.ZeroPad2d((before, total - before) * 2), conv(k, stride))


def test_aligned_branches() -> None:
    f = fields(Two(conv(1, 4), padded()), (1, 32, 32))[-1]
    assert (f.size((32, 32)), f.jump, f.padding) == ((3, 3), (4, 4), (1, 1))


def test_dropout_changes_nothing() -> None:
    net = nn.Sequential(Two(conv(1, 4), padded()), nn.Dropout(), nn.Dropout2d())
    f = fields(net, (1, 32, 32))[-1]
    assert (f.size((32, 32)), f.jump, f.padding) == ((3, 3), (4, 4), (1, 1))


def test_misaligned_branches_are_refused_with_both_paths() -> None:
    f = fields(Two(conv(1, 4), nn.Sequential(conv(3, 2), conv(1, 2))), (1, 32, 32))[-1]
    assert f.size((32, 32)) is None
    assert f.local is None
    assert f.extent == (3, 3)  # pixels 0 to 2, though nobody's centre
    assert f.refused == (
        "branches are not aligned (height): left (conv2d) is centred on pixel 0 + 4i, "
        "right.1 (conv2d) on 1 + 4i, at add"
    )


def test_same_padding_aligns_at_9_pixels_and_not_at_8() -> None:
    def net(size: int) -> nn.Module:
        return Two(same(size, 1, 4), nn.Sequential(same(size, 3, 2), same(-(-size // 2), 1, 2)))

    f = fields(net(9), (1, 9, 9))[-1]
    assert (f.size((9, 9)), f.jump, f.padding) == ((3, 3), (4, 4), (1, 1))
    assert "not aligned" in fields(net(8), (1, 8, 8))[-1].refused


def test_oblong_kernels() -> None:
    f = fields(nn.Sequential(conv((3, 5), 2), conv((3, 1), 2)), (1, 32, 32))[-1]
    assert (f.size((32, 32)), f.jump, f.padding) == ((7, 5), (4, 4), (0, 0))


def test_an_addition_in_the_middle() -> None:
    block = Two(conv(1, 4), padded())
    ending = Two(conv(1, 2), nn.Sequential(nn.ZeroPad2d((1, 0, 1, 0)), conv(3, 2)))
    f = fields(nn.Sequential(block, ending), (1, 64, 64))[-1]
    assert (f.size((64, 64)), f.jump, f.padding) == ((11, 11), (8, 8), (5, 5))
    assert f.centre(0, 2) == (0, 16)
    assert f.centre(3, 1) == (24, 8)


@pytest.mark.parametrize(("depth", "size"), [(3, 7), (5, 11)])
def test_stacked_3x3(depth: int, size: int) -> None:
    net = nn.Sequential(*(conv(3, pad=1) for _ in range(depth)))
    assert fields(net, (1, 28, 28))[-1].size((28, 28)) == (size, size)


def test_lenet5_and_mobilenet_v1_and_a_cifar_resnet() -> None:
    lenet = nn.Sequential(conv(5), nn.AvgPool2d(2), conv(5), nn.AvgPool2d(2), conv(5))
    assert (fields(lenet, (1, 32, 32))[-1].size((32, 32)), fields(lenet, (1, 32, 32))[-1].jump) == (
        (32, 32),
        (4, 4),
    )
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    mobilenet = nn.Sequential(conv(3, 2, 1), *(nn.Sequential(conv(3, s, 1), conv(1)) for s in strides))
    f = fields(mobilenet, (1, 224, 224))[-1]
    assert (f.size((224, 224)), f.padding) == ((315, 315), (157, 157))
    blocks = [
        Two(conv(1, s), nn.Sequential(conv(3, s, 1), conv(3, 1, 1))) for s in (1, 1, 1, 2, 1, 1, 2, 1, 1)
    ]
    f = fields(nn.Sequential(conv(3, 1, 1), *blocks), (1, 32, 32))[-1]
    assert (f.size((32, 32)), f.jump) == ((81, 81), (4, 4))


def test_a_global_value_sees_exactly_what_all_its_inputs_saw() -> None:
    """Valid windows of the MNIST network of the notes never reach the last two rows and columns."""
    net = nn.Sequential(conv(3), nn.MaxPool2d(2), conv(3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(25, 10))
    assert fields(net, (1, 28, 28))[-1].size((28, 28)) == (26, 26)


def test_a_gate_sees_everything_and_the_map_keeps_its_window() -> None:
    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(x.mean((2, 3), keepdim=True))

    f = fields(nn.Sequential(conv(3), Gate()), (1, 16, 16))[-1]
    assert f.size((16, 16)) == (3, 3)
    assert f.seen == ((0, 15), (0, 15))


def test_a_channel_shuffle_keeps_positions_and_a_window_partition_loses_them() -> None:
    class Shuffle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            n, c, h, w = x.shape
            return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    class Windows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            n, c, h, w = x.shape
            return x.view(n, c, h // 4, 4, w // 4, 4).amax((3, 5))

    assert fields(nn.Sequential(nn.Conv2d(1, 4, 3), Shuffle()), (1, 16, 16))[-1].size((16, 16)) == (3, 3)
    f = fields(nn.Sequential(Windows(), nn.Flatten()), (1, 16, 16))
    assert f[2].refused == "positions are joined or split at 0 (reshape)"
    assert f[2].size((16, 16)) is None
    assert f[-1].size((16, 16)) == (16, 16)  # all windows together


def test_channels_last_code_is_followed(measured: Measured) -> None:
    f = last_map(measured("convnext_tiny"))
    # stem 4/4; blocks of 7x7 depthwise: 3, 3, 9, 3 at strides 4, 8, 16, 32; 2x2/2 between the stages
    blocks = 6 * (3 * 4 + 3 * 8 + 9 * 16 + 3 * 32)
    assert f.size((224, 224)) == (4 + 4 + 8 + 16 + blocks,) * 2


def test_unequal_adaptive_windows_are_refused_until_flattened() -> None:
    net = nn.Sequential(conv(3), nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(36, 2))
    f = fields(net, (1, 15, 15))
    assert f[2].refused == "windows of unequal size, 13 values to 6, at 1 (adaptive_avg_pool2d)"
    assert f[-1].size((15, 15)) == (15, 15)


LATER = {  # after a 3x3 convolution, a pooling of 2 and the layer comes what joins or averages the positions
    "upsample": (nn.Upsample(scale_factor=2), "moved in a way not followed at 2 (interpolate)"),
    "transposed": (nn.ConvTranspose2d(4, 4, 2, 2), "moved in a way not followed at 2 (conv_transpose2d)"),
    "shuffle": (nn.PixelShuffle(2), "moved in a way not followed at 2 (pixel_shuffle)"),
    "adaptive": (
        nn.AdaptiveAvgPool2d(5),
        "windows of unequal size, 7 values to 5, at 2 (adaptive_avg_pool2d)",
    ),
}


@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize("head", ["flatten", "mean", "convolution"])
def test_what_follows_a_layer_without_a_field_never_gets_that_of_an_earlier_map(name: str, head: str) -> None:
    layer, why = LATER[name]
    c = 1 if name == "shuffle" else 4
    ends = {
        "flatten": nn.Flatten(),
        "mean": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "convolution": nn.Conv2d(c, 8, 3),
    }
    a = anatomy(nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), layer, ends[head]), (3, 16, 16))
    assert (a.receptive_field, a.jump, a.padding) == (None, None, None)
    assert a.refused.endswith(why)


def test_the_last_map_is_the_one_before_global_pooling_however_narrow() -> None:
    net = nn.Sequential(conv(3), conv(3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    a = anatomy(net, (1, 40, 5))
    assert a.before(a.graph.nodes[3]) == (1, 1, 36, 1)
    assert (a.receptive_field, a.jump) == ((5, 5), (1, 1))


def test_pixels_made_channels_are_a_window_and_equal_adaptive_windows_too() -> None:
    for layer in (nn.PixelUnshuffle(2), nn.AdaptiveAvgPool2d(8)):
        net = nn.Sequential(conv(3, pad=1), layer, nn.Flatten())
        a = anatomy(net, (1, 16, 16))
        assert (a.receptive_field, a.jump, a.padding) == ((4, 4), (2, 2), (1, 1))
        assert support(net[:2], 16, 3, 3) == (5, 8, 5, 8)


def test_features_that_were_positions_are_no_map_again() -> None:
    """Half of the flattened values sees less than all of them, in no order that can be told."""

    class Again(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).view(-1, 1, 12, 12)

    a = anatomy(nn.Sequential(conv(3), Again(), conv(3)), (1, 14, 14))
    assert (a.receptive_field, a.refused) == (None, "positions are joined at 1 (flatten)")
    mixed = nn.Sequential(nn.Flatten(), nn.Linear(144, 144), nn.Unflatten(1, (1, 12, 12)))
    assert fields(nn.Sequential(conv(3), *mixed, conv(3)), (1, 14, 14))[-1].size((14, 14)) == (14, 14)


def test_written_channels_keep_their_positions_and_shifted_ones_do_not() -> None:
    class Part(nn.Module):
        def __init__(self, rows: slice) -> None:
            super().__init__()
            self.conv, self.rows = nn.Conv2d(2, 2, 3, padding=1), rows

        def forward(self, x: Tensor) -> Tensor:
            x = x.clone()
            x[:, :2, self.rows] = self.conv(x[:, :2, self.rows])
            return x

    def refused(rows: slice) -> str:
        return fields(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), Part(rows)), (1, 16, 16))[-1].refused

    f = fields(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), Part(slice(None))), (1, 16, 16))[-1]
    assert (f.size((16, 16)), f.padding) == ((5, 5), (2, 2))
    assert refused(slice(1, None)) == "setitem of several maps is not followed at 1 (setitem)"


def test_stacked_branches_and_broadcast_gates_are_followed() -> None:
    class Selective(nn.Module):
        """Two branches, weighed by what both see together: Li et al., 2019."""

        def __init__(self) -> None:
            super().__init__()
            self.near, self.far = conv(3, pad=1), nn.Conv2d(1, 1, 3, padding=2, dilation=2)

        def forward(self, x: Tensor) -> Tensor:
            both = torch.stack((self.near(x), self.far(x)), 1)
            weights = both.sum(1).mean((2, 3), keepdim=True).sigmoid()
            return (both * weights.expand_as(x)[:, None]).sum(1)

    f = fields(nn.Sequential(conv(3, pad=1), Selective()), (1, 16, 16))[-1]
    assert (f.size((16, 16)), f.padding) == ((7, 7), (3, 3))


@pytest.mark.parametrize("how", ["stack", "cat"])
def test_rows_picked_one_by_one_and_joined_are_refused(how: str) -> None:
    """The gradient of the last map spans 9 rows, each of its values sees 3 of the 10 rows that were picked."""

    class Rows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            rows = [x[:, :, i] for i in range(0, 30, 3)]
            return torch.stack(rows, 2) if how == "stack" else torch.cat([r[:, :, None] for r in rows], 2)

    net = nn.Sequential(conv(3), Rows(), conv(3))
    rows = support(net, 32, 4, 4)
    f = fields(net, (1, 32, 32))[-1]
    assert rows[1] - rows[0] + 1 == 9
    assert (f.size((32, 32)), f.refused) == (
        None,
        f"values from several places are put side by side at 1 ({how})",
    )


def test_kernels_that_depend_on_the_whole_image_slide_all_the_same() -> None:
    class Conditional(nn.Module):
        """Yang et al., 2019: the kernel is a mixture of experts that the pooled image weighs."""

        def __init__(self) -> None:
            super().__init__()
            self.experts, self.route = nn.Parameter(torch.ones(2, 9)), nn.Linear(1, 2)

        def forward(self, x: Tensor) -> Tensor:
            weights = self.route(x.mean((2, 3))).sigmoid()
            return F.conv2d(x, (weights @ self.experts).view(1, 1, 3, 3), padding=1)

    f = fields(nn.Sequential(conv(3), Conditional()), (1, 16, 16))[-1]
    assert (f.size((16, 16)), f.padding, f.seen) == ((5, 5), (1, 1), ((0, 15), (0, 15)))


@pytest.mark.parametrize("left", [True, False])
def test_a_matrix_from_the_left_mixes_rows_and_from_the_right_columns(left: bool) -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.ones(12, 12))

        def forward(self, x: Tensor) -> Tensor:
            return self.matrix @ x if left else x @ self.matrix

    f = fields(nn.Sequential(conv(3), Product()), (1, 14, 14))[-1]
    assert [axis is None for axis in f.axes[2:]] == [left, not left]
    assert f.size((14, 14)) == ((14, 3) if left else (3, 14))


def test_an_unknown_operation_is_never_a_number() -> None:
    class Unknown(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.fft2(x).real

    assert "unknown operation" in fields(Unknown(), (1, 8, 8))[-1].refused


# --- the independent oracle: where the gradient of one value is not zero ---


def support(net: nn.Module, side: int, row: int, column: int) -> tuple[int, ...]:
    """(top, bottom, left, right) of the pixels that move the value at (row, column); all weights positive."""
    for p in net.parameters():
        nn.init.constant_(p, 0.5)
    x = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    y = net.double()(x)
    y[0, :, row, column].sum().backward()
    assert x.grad is not None
    rows, columns = (x.grad[0, 0].abs().sum(d).nonzero().flatten() for d in (1, 0))
    return tuple(int(i) for seen in (rows, columns) if len(seen) for i in (seen[0], seen[-1]))


def in_image(f: Field, side: int, row: int, column: int) -> tuple[int, int, int, int]:
    assert f.local is not None
    spans = []
    for axis, i in zip(f.local, (row, column), strict=True):
        spans += [max(axis.first + i * axis.jump, 0), min(axis.last + i * axis.jump, side - 1)]
    return spans[0], spans[1], spans[2], spans[3]


class Join(nn.Module):
    def __init__(self, how: str, *branches: nn.Module) -> None:
        super().__init__()
        self.how, self.branches = how, nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        ys = [branch(x) for branch in self.branches]
        return sum(ys[1:], ys[0]) if self.how == "add" else torch.cat(ys, 1).mean(1, keepdim=True)


kernels = st.integers(1, 4)
windows = st.builds(
    lambda kh, kw, s, d, ph, pw: nn.Conv2d(1, 1, (kh, kw), s, (min(ph, kh - 1), min(pw, kw - 1)), d),
    kernels, kernels, st.integers(1, 2), st.integers(1, 2), st.integers(0, 2), st.integers(0, 2),
)  # fmt: skip
pools = st.builds(
    lambda k, s, p: nn.AvgPool2d(k, s, min(p, k // 2)), kernels, st.integers(1, 2), st.integers(0, 1)
)
crops = st.builds(lambda a, b: nn.ZeroPad2d((a, b, b, a)), st.integers(0, 2), st.integers(0, 2))


def odd(k: int, d: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(1, 1, 2 * k + 1, stride, k * d, d)


joins = st.builds(
    lambda how, stride, shapes: Join(how, *(odd(k, d, stride) for k, d in shapes)),
    st.sampled_from(["add", "cat"]),
    st.integers(1, 2),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 2)), min_size=2, max_size=3),
)
networks = st.lists(st.one_of(windows, pools, crops, joins), min_size=1, max_size=4)


@settings(max_examples=30, deadline=None)
@given(networks, st.data())
def test_the_field_is_the_support_of_the_gradient(layers: list[nn.Module], data: st.DataObject) -> None:
    net, side = nn.Sequential(*layers), 61
    f = fields(net, (1, side, side))[-1]
    assert f.local is not None
    h, w = net(torch.zeros(1, 1, side, side)).shape[2:]
    row, column = data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1))
    top, bottom, left, right = in_image(f, side, row, column)
    found = support(net, side, row, column)
    assume(found)  # else only padding is seen
    assert found[0] >= top
    assert found[1] <= bottom
    assert found[2] >= left
    assert found[3] <= right
    if inside(f, side, row, column):  # at the border strides and dilation may step over the outermost pixels
        assert found == (top, bottom, left, right)


def inside(f: Field, side: int, *position: int) -> bool:
    spans = zip(f.local or (), position, strict=True)
    return all(a.first + i * a.jump >= 0 and a.last + i * a.jump < side for a, i in spans)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(kernels, st.integers(0, 3)), min_size=2, max_size=2))
def test_branches_are_refused_exactly_when_their_gradients_disagree(shapes: list[tuple[int, int]]) -> None:
    side, size = 41, 20
    branches = []
    for k, before in shapes:
        after = (size - 1) * 2 + k - side - before
        branches.append(nn.Sequential(nn.ZeroPad2d((before, after, before, after)), nn.Conv2d(1, 1, k, 2)))
    centres = [(top + bottom) / 2 for top, bottom, _, _ in (support(b, side, 9, 9) for b in branches)]
    refused = fields(Join("add", *(b.float() for b in branches)), (1, side, side))[-1].refused
    assert ("not aligned" in refused) == (centres[0] != centres[1])


def test_max_pool_slides_like_average_pool() -> None:
    for pool in (nn.MaxPool2d, nn.AvgPool2d):
        f = fields(nn.Sequential(conv(3), pool(3, 2, 1), conv(3, 2)), (1, 32, 32))[-1]
        assert (f.size((32, 32)), f.padding) == ((9, 9), (1, 1))
    x = torch.arange(32.0 * 32).view(1, 1, 32, 32).requires_grad_()
    F.max_pool2d(x, 3, 2, 1)[0, 0, 5, 5].backward()
    assert x.grad is not None
    assert x.grad.nonzero()[0].tolist() == [0, 0, 11, 11]  # the last pixel of 9..11
