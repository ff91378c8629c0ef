"""SE-Inception: GoogLeNet with squeeze-and-excitation.  Hu et al., 2018, arXiv:1709.01507.

Idea     Let the whole image decide how much each channel counts, right after every Inception module.
Source   Where the block goes: Fig. 2.  Reduction ratio 16: section 6.1.
Departs  The Inception modules are those of GoogLeNet with batch norm; the paper's own are BN-Inception's.
"""

from functools import partial

from striate.layers.inception import conv_bn_relu, inception_reduced
from striate.zoo import googlenet
from striate.zoo.network import ZooNet
from striate.zoo.registry import Card, register


@register(Card("se_inception", "senet", "1709.01507", 2017, (3, 224, 224), min_side=15, params=7_105_007))
def se_inception(num_classes: int = 1000, in_chans: int = 3, dropout: float = 0.2) -> ZooNet:
    """GoogLeNet with batch norm and nine squeeze-and-excitation blocks."""
    return ZooNet(
        googlenet.stem(in_chans, conv_bn_relu, lrn=False),
        googlenet.stages(partial(inception_reduced, kernel5=3), last_pool=2, se=True),
        googlenet.head(num_classes, dropout),
        in_chans=in_chans,
        min_side=15,
    )
