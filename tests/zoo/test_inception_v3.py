import torch

from striate import zoo
from striate.zoo.inception_v3 import TORCHVISION


def test_parameters_with_auxiliary_head():
    with torch.device("meta"):
        net = zoo.build("inception_v3", aux_heads=True)
    assert sum(p.numel() for p in net.parameters()) == 27_161_264  # torchvision's


def test_maps_have_the_sizes_of_table_1():
    """arXiv:1512.00567, Table 1: 147, 147, 73, 71, 35 in the stem; then 35, 17, 8."""
    with torch.device("meta"):
        net, x = zoo.build("inception_v3").eval(), torch.empty(1, 3, 299, 299)
        sides = [(x := layer(x)).shape[2] for layer in net.stem]
        assert sides == [149, 147, 147, 73, 73, 71, 35]
        shapes = [tuple((x := stage(x)).shape[1:]) for stage in net.stages]
    assert shapes == [(288, 35, 35), (768, 17, 17), (2048, 8, 8)]


def test_counting_the_border_changes_only_what_lies_at_it():
    ours = zoo.build("inception_v3", num_classes=3).stages.mixed5.b.eval()
    counting = zoo.build("inception_v3", num_classes=3, **TORCHVISION).stages.mixed5.b.eval()
    counting.load_state_dict(ours.state_dict())
    x = torch.rand(1, 192, 7, 7)
    with torch.no_grad():
        differs = (ours(x) != counting(x)).any(1)[0]
    assert differs[[0, -1]].any()
    assert differs[:, [0, -1]].any()
    assert not differs[1:-1, 1:-1].any()
