"""Which dimension of a tensor is which, for labels: maps, channels first or last, and rows of tokens."""

from striate.diagram.graph import Graph, Node

# one letter a dimension: n images, c channels, h height, w width, t tokens (height and width in one), ? unknown
Layout = str


def layouts(graph: Graph) -> list[Layout]:
    """One for every node of the graph, in order."""
    found: list[Layout] = []
    for node in graph.nodes:
        if node.op == "input":
            found.append("nchw" if len(node.shape) == 4 else "n" + "?" * (len(node.shape) - 1))
            continue
        given = [found[i] for i in node.inputs]
        of_rank = [layout for layout in given if len(layout) == len(node.shape)]
        first = next((layout for layout in of_rank if "?" not in layout), of_rank[0] if of_rank else "")
        found.append(_moved(node, graph.nodes[node.inputs[0]].shape, given[0], first))
    return found


def size(layout: Layout, shape: tuple[int, ...]) -> str:
    """`56×56×96` for a map of height, width, channels; `196 tokens × 192`; else torch's shape, image by image."""
    n = dict(zip(layout, shape, strict=True))
    match "".join(sorted(layout)), shape[0]:
        case "chnw", 1:
            return f"{n['h']}×{n['w']}×{n['c']}"
        case "cnt", 1:
            return f"{n['t']} tokens × {n['c']}"
        case _, 1 if len(shape) == 2:
            return f"{shape[1]}"
    return f"({', '.join(map(str, shape[1:] if shape[0] == 1 else shape))})"


def _moved(node: Node, before: tuple[int, ...], layout: Layout, same_rank: Layout) -> Layout:
    args = node.args
    match node.op:
        case "permute":
            return "".join(layout[d] for d in args["dims"])
        case "transpose":
            order = list(layout)
            a, b = args["dim0"], args["dim1"]
            order[a], order[b] = order[b], order[a]
            return "".join(order)
        case "reshape" | "flatten" | "unflatten" | "squeeze" | "unsqueeze":
            return _regrouped(before, node.shape, layout)
        case "mean" | "sum" | "amax" if not args.get("keepdim") and args.get("dim") is not None:
            gone = args["dim"] if isinstance(args["dim"], tuple) else (args["dim"],)
            return "".join(c for d, c in enumerate(layout) if d - len(layout) not in gone and d not in gone)
        case "getitem":
            return _indexed(args["index"], layout)
    return same_rank or "n" + "?" * (len(node.shape) - 1)


def _regrouped(before: tuple[int, ...], after: tuple[int, ...], layout: Layout) -> Layout:
    """Dimensions that stay whole keep their letter; see `_renamed` for those that are joined or split."""
    old, new, letters = list(range(len(before))), list(after), ""
    while new:
        if new[0] == 1 and not (old and before[old[0]] == 1):
            letters += "?"
            new.pop(0)
            continue
        taken, given = [old.pop(0)] if old else [], [new.pop(0)]
        p, q = before[taken[0]] if taken else 1, given[0]
        while p != q and (old if p < q else new):
            if p < q:
                taken.append(old.pop(0))
                p *= before[taken[-1]]
            else:
                given.append(new.pop(0))
                q *= given[-1]
        letters += _renamed("".join(layout[d] for d in taken), len(given), layout)
    return letters


def _renamed(group: Layout, n: int, layout: Layout) -> Layout:
    """`group` as n dimensions: height and width together are tokens; the outer part of a split goes by its name."""
    if len(group) == n:
        return group
    if n == 1:
        known = group.replace("?", "") or ("?" if "c" in layout else "c")
        return {"hw": "t"}.get(known, known if len(known) == 1 else "?")
    if group == "t":
        return "hw" if n == 2 else "?" * n
    return group + "?" * (n - 1) if len(group) == 1 else "?" * n


def _indexed(index: object, layout: Layout) -> Layout:
    rest, letters = list(layout), ""
    items = index if isinstance(index, tuple) else (index,)
    if ... in items:
        at = items.index(...)
        free = len(layout) - sum(i is not None for i in items) + 1
        items = (*items[:at], *(slice(None),) * free, *items[at + 1 :])
    for i in items:
        if i is None:
            letters += "?"
        elif rest:
            letter = rest.pop(0)
            letters += letter if isinstance(i, slice) else ""
    return letters + "".join(rest)
