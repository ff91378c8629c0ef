import torch
from torch import nn

from striate.layers.auxiliary import auxiliary_conv, auxiliary_dense


def test_dense_head_counts_as_the_paper_says():
    """arXiv:1409.4842, section 5: 4x4x512 from a 14 x 14 map, 128 1x1 filters, 1024 units, a linear layer."""
    head = auxiliary_dense(512, 1000, nn.AvgPool2d(5, 3))
    convolution = 512 * 128 + 2 * 128  # batch norm for a bias
    dense = (4 * 4 * 128 + 1) * 1024 + (1024 + 1) * 1000
    assert sum(p.numel() for p in head.parameters()) == convolution + dense
    assert head(torch.zeros(2, 512, 14, 14)).shape == (2, 1000)


def test_convolutional_head_averages_a_map_into_logits():
    """17 x 17 leaves one pixel, 20 x 20 four: their mean is what the dense layer sees."""
    head = auxiliary_conv(3, 10).eval()
    x = torch.randn(1, 3, 20, 20)
    corners = [head(x[:, :, i : i + 17, j : j + 17]) for i in (0, 3) for j in (0, 3)]
    torch.testing.assert_close(head(x), torch.stack(corners).mean(0))
