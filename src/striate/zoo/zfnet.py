"""ZFNet.  Zeiler and Fergus, 2014, "Visualizing and understanding convolutional networks", arXiv:1311.2901.

Idea     Look at what AlexNet's first layers learned, see dead and aliased filters, and repair them: 7x7/2,
         not 11x11/4.
Source   Plan: Fig. 3.  Normalisation across feature maps: section 1.1 and Fig. 3.
Departs  conv1 is padded by 1 and the pools round up: the way to the map sizes of Fig. 3, which says
         neither. Other sizes than 224 are averaged to 6 x 6. The contrast normalisation is AlexNet's, the
         paper gives no constants.
"""

from torch import nn

from striate.layers.chain import chain
from striate.zoo.alexnet import dense_head, response_norm
from striate.zoo.network import ZooNet
from striate.zoo.registry import Card, register


@register(Card("zfnet", "zfnet", "1311.2901", 2013, input=(3, 224, 224), min_side=47, params=62_357_608))
def zfnet(num_classes: int = 1000, in_chans: int = 3, dropout: float = 0.5) -> ZooNet:
    """AlexNet with a 7x7/2 and a 5x5/2 in front, pooled before they are normalised."""
    stem = chain(
        conv1=nn.Conv2d(in_chans, 96, 7, stride=2, padding=1),  # 110 x 110
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 55 x 55
        norm1=response_norm(),
    )
    stages = {
        "conv2": chain(
            conv=nn.Conv2d(96, 256, 5, stride=2),  # 26 x 26
            relu=nn.ReLU(),
            pool=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 13 x 13
            norm=response_norm(),
        ),
        "conv3": chain(conv=nn.Conv2d(256, 384, 3, padding=1), relu=nn.ReLU()),
        "conv4": chain(conv=nn.Conv2d(384, 384, 3, padding=1), relu=nn.ReLU()),
        "conv5": chain(
            conv=nn.Conv2d(384, 256, 3, padding=1),
            relu=nn.ReLU(),
            pool=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 6 x 6
        ),
    }
    return ZooNet(stem, stages, dense_head(256, 6, num_classes, dropout), in_chans=in_chans, min_side=47)
