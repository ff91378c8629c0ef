import pytest
import torchvision.models as tv

from striate import zoo


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1"])
def test_same_logits_as_torchvision(name, same_logits):
    same_logits(zoo.build(name, num_classes=10), getattr(tv, name)(num_classes=10), (2, 3, 50, 65))
