"""Networks that train with auxiliary classifiers, which inference never sees."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from striate.zoo.network import ZooNet, check_input, replace_scorer


class AuxiliaryNet(ZooNet):
    """A ZooNet with further heads; the one called `"stage_block"` reads what that block of that stage gives.

    `forward` is the network without them. `min_side_auxiliary` (px) is the smallest image that they digest.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Mapping[str, nn.Module],
        head: nn.Module,
        auxiliary: Mapping[str, nn.Module],
        min_side_auxiliary: int,
        **rest: Any,
    ) -> None:
        super().__init__(stem, stages, head, **rest)
        self.auxiliary = nn.ModuleDict(auxiliary)
        self.min_side_auxiliary = min_side_auxiliary
        if self.init is not None:
            self.auxiliary.apply(self.init)

    def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(logits, [auxiliary logits, first to last]): train on loss + 0.3 * their losses."""
        check_input(x, self.in_chans, self.min_side_auxiliary if self.auxiliary else self.min_side)
        x, scores = self.stem(x), []
        for stage_name, stage in self.stages.named_children():
            for block_name, block in stage.named_children():
                x = block(x)
                if (name := f"{stage_name}_{block_name}") in self.auxiliary:
                    scores.append(self.auxiliary[name](x))
        return self.head(x), scores

    def reset_head(self, num_classes: int) -> None:
        super().reset_head(num_classes)
        for head in self.auxiliary.values():
            fresh = replace_scorer(head, num_classes)
            if self.init is not None:
                fresh.apply(self.init)
