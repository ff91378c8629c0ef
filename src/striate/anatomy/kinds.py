"""What each operation does to positions and products; whatever is not listed here is unknown, never free."""

# one position in, the same position out
POINTWISE = {
    "identity",
    "relu",
    "relu6",
    "leaky_relu",
    "prelu",
    "rrelu",
    "elu",
    "selu",
    "celu",
    "gelu",
    "silu",
}
POINTWISE |= {"mish", "sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "hardshrink", "softshrink"}
POINTWISE |= {"tanhshrink", "softplus", "softsign", "logsigmoid", "threshold", "glu"}
POINTWISE |= {
    "dropout",
    "dropout2d",
    "alpha_dropout",
    "feature_dropout",
    "feature_alpha_dropout",
    "dropout1d",
}
POINTWISE |= {
    "abs",
    "neg",
    "exp",
    "log",
    "log1p",
    "sqrt",
    "rsqrt",
    "square",
    "reciprocal",
    "erf",
    "clamp",
    "sign",
}
POINTWISE |= {"clamp_min", "clamp_max", "round", "floor", "ceil", "gt", "lt", "ge", "le", "eq", "ne", "real"}
POINTWISE |= {"batch_norm", "local_response_norm"}  # across channels at one position
# several maps of one size become one, position by position
MERGE = {"add", "sub", "mul", "div", "pow", "maximum", "minimum", "where", "lerp", "addcmul", "cat"}
# a window slides over the map
WINDOW = {"conv2d", "max_pool2d", "avg_pool2d", "lp_pool2d"}
ADAPTIVE = {"adaptive_avg_pool2d", "adaptive_max_pool2d"}
# the dimensions named by an argument disappear or become 1
REDUCE = {"mean", "sum", "amax", "amin", "max", "min", "prod", "logsumexp", "norm", "var", "std", "argmax"}
# every position along some dimensions sees all others
MIX = {
    "softmax",
    "log_softmax",
    "softmin",
    "normalize",
    "layer_norm",
    "group_norm",
    "instance_norm",
    "rms_norm",
}
# the same numbers in another order or form
REARRANGE = {
    "permute",
    "transpose",
    "squeeze",
    "unsqueeze",
    "getitem",
    "chunk",
    "split",
    "tensor_split",
    "unbind",
}
REARRANGE |= {
    "reshape",
    "flatten",
    "unflatten",
    "pad",
    "expand",
    "repeat",
    "stack",
    "roll",
    "flip",
    "movedim",
}
REARRANGE |= {
    "select",
    "narrow",
    "T",
    "mT",
    "write",
    "setitem",
    "pixel_shuffle",
    "pixel_unshuffle",
    "channel_shuffle",
}
REARRANGE |= {"interpolate", "upsample", "expand_as", "repeat_interleave", "masked_fill", "unfold"}
WRITE = {"write", "setitem"}  # of some values of a map
# multiplications of weights and maps, or of maps with each other
PRODUCT = {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"}
PRODUCT |= {"matmul", "mm", "bmm", "einsum", "scaled_dot_product_attention", "multi_head_attention_forward"}

KNOWN = POINTWISE | MERGE | WINDOW | ADAPTIVE | REDUCE | MIX | REARRANGE | PRODUCT | {"input"}
