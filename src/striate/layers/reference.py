"""The layers of a convolutional network from their definitions: NumPy only, forward and backward.

A layer keeps what its backward pass needs: `backward` takes dL/dy, leaves dL/dw in `.grads`, returns dL/dx.
`python -m striate.layers.reference` trains an MLP and a small CNN on scikit-learn's handwritten digits.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Labels = NDArray[np.integer]


class Layer(ABC):
    """y = f(x; params)."""

    params: Sequence[Array] = ()
    grads: Sequence[Array] = ()

    @abstractmethod
    def forward(self, x: Array) -> Array: ...

    @abstractmethod
    def backward(self, dy: Array) -> Array: ...


class Dense(Layer):
    """y = x W + b.    (n, f_in) -> (n, f_out)"""

    def __init__(self, f_in: int, f_out: int, rng: np.random.Generator) -> None:
        self.w = rng.normal(0, np.sqrt(2 / f_in), (f_in, f_out))  # He: keeps the variance through a ReLU
        self.b = np.zeros(f_out)
        self.params = [self.w, self.b]

    def forward(self, x: Array) -> Array:
        self.x = x
        return x @ self.w + self.b

    def backward(self, dy: Array) -> Array:
        self.grads = [self.x.T @ dy, dy.sum(0)]
        return dy @ self.w.T


class Sliding(Layer):
    """What convolution and pooling share: one shifted view of the padded image per kernel position.

    View (i, j) holds, for each output (p, q), the pixel (p s + i, q s + j) that kernel position (i, j) meets.
    """

    def __init__(self, k: int, s: int = 1, p: int = 0, fill: float = 0.0) -> None:
        self.k, self.s, self.p, self.fill = k, s, p, fill

    def pad(self, x: Array) -> Array:
        """(n, c, h, w) -> (n, c, h + 2p, w + 2p)"""
        h, w = x.shape[2:]
        self.rows, self.cols = ((size + 2 * self.p - self.k) // self.s + 1 for size in (h, w))
        edges = ((0, 0), (0, 0), (self.p, self.p), (self.p, self.p))
        return np.pad(x, edges, constant_values=self.fill)

    def unpad(self, x: Array) -> Array:
        """(n, c, h + 2p, w + 2p) -> (n, c, h, w)"""
        return x[:, :, self.p : x.shape[2] - self.p, self.p : x.shape[3] - self.p]

    def views(self, x: Array) -> Iterator[tuple[int, int, Array]]:
        """(i, j, view) in row-major order; each view is (n, c, rows, cols) and writes through to x."""
        for i in range(self.k):
            for j in range(self.k):
                yield i, j, x[:, :, i :: self.s, j :: self.s][:, :, : self.rows, : self.cols]


class Conv(Sliding):
    """y[o, p, q] = b[o] + sum_(c, i, j) w[o, c, i, j] x[c, p s + i, q s + j].

    (n, c_in, h, w) -> (n, c_out, h', w') with h' = floor((h + 2 p - k) / s) + 1, as for pooling.
    """

    def __init__(
        self, c_in: int, c_out: int, k: int, rng: np.random.Generator, s: int = 1, p: int = 0
    ) -> None:
        super().__init__(k, s, p)
        self.w = rng.normal(0, np.sqrt(2 / (c_in * k * k)), (c_out, c_in, k, k))
        self.b = np.zeros(c_out)
        self.params = [self.w, self.b]

    def forward(self, x: Array) -> Array:
        self.x = self.pad(x)
        y = np.zeros((len(x), len(self.b), self.rows, self.cols)) + self.b[:, None, None]
        for i, j, view in self.views(self.x):
            y += np.einsum("oc,nchw->nohw", self.w[:, :, i, j], view, optimize=True)
        return y

    def backward(self, dy: Array) -> Array:
        dw, dx = np.zeros_like(self.w), np.zeros_like(self.x)
        for i, j, view in self.views(self.x):
            dw[:, :, i, j] = np.einsum("nohw,nchw->oc", dy, view, optimize=True)
        for i, j, view in self.views(dx):
            view += np.einsum("oc,nohw->nchw", self.w[:, :, i, j], dy, optimize=True)
        self.grads = [dw, dy.sum((0, 2, 3))]
        return self.unpad(dx)


class MaxPool(Sliding):
    """y[p, q] = max_(i, j) x[p s + i, q s + j]; the first maximum gets the gradient."""

    def __init__(self, k: int, s: int | None = None, p: int = 0) -> None:
        super().__init__(k, s or k, p, fill=-np.inf)

    def forward(self, x: Array) -> Array:
        self.x = self.pad(x)
        windows = np.stack([view for _, _, view in self.views(self.x)])  # (k k, n, c, h', w')
        self.winner = windows.argmax(0)
        return windows.max(0)

    def backward(self, dy: Array) -> Array:
        dx = np.zeros_like(self.x)
        for i, j, view in self.views(dx):
            view += dy * (self.winner == i * self.k + j)
        return self.unpad(dx)


class AvgPool(Sliding):
    """y[p, q] = sum_(i, j) x[p s + i, q s + j] / k^2, padding counted as zeros."""

    def __init__(self, k: int, s: int | None = None, p: int = 0) -> None:
        super().__init__(k, s or k, p)

    def forward(self, x: Array) -> Array:
        padded = self.pad(x)
        self.shape = padded.shape
        return np.stack([view for _, _, view in self.views(padded)]).mean(0)

    def backward(self, dy: Array) -> Array:
        dx = np.zeros(self.shape)
        for _, _, view in self.views(dx):
            view += dy / self.k**2
        return self.unpad(dx)


class ReLU(Layer):
    """y = max(x, 0)"""

    def forward(self, x: Array) -> Array:
        self.x = x
        return np.maximum(x, 0)

    def backward(self, dy: Array) -> Array:
        return dy * (self.x > 0)


class Flatten(Layer):
    """(n, c, h, w) -> (n, c h w)"""

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Array) -> Array:
        return dy.reshape(self.shape)


class Sequential(Layer):
    """y = f_m(... f_2(f_1(x))); the gradient runs the chain backwards."""

    def __init__(self, *layers: Layer) -> None:
        self.layers = layers

    def forward(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy: Array) -> Array:
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy


def softmax(logits: Array) -> Array:
    """p[c] = exp(z[c]) / sum_j exp(z[j]), shifted by the largest logit so that nothing overflows."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropy(logits: Array, labels: Labels) -> tuple[float, Array]:
    """(L, dL/dz) of L = -mean_n log p[n, label]; dL/dz = (p - onehot) / n."""
    p, rows = softmax(logits), np.arange(len(labels))
    loss = -np.log(p[rows, labels]).mean()
    p[rows, labels] -= 1
    return float(loss), p / len(labels)


def sgd(net: Sequential, velocity: list[Array], lr: float, momentum: float = 0.9) -> None:
    """v <- m v - lr g; w <- w + v, in place; `velocity` starts out as zeros."""
    steps = ((w, g) for layer in net.layers for w, g in zip(layer.params, layer.grads, strict=True))
    for v, (w, g) in zip(velocity, steps, strict=True):
        v *= momentum
        v -= lr * g
        w += v


def fit(
    net: Sequential, x: Array, y: Labels, epochs: int, lr: float, rng: np.random.Generator
) -> Iterator[float]:
    """Minibatch SGD with momentum, 32 images a step; yields the mean loss of each epoch."""
    velocity = [np.zeros_like(w) for layer in net.layers for w in layer.params]
    for _ in range(epochs):
        losses = []
        for batch in np.array_split(rng.permutation(len(x)), len(x) // 32):
            loss, dz = cross_entropy(net.forward(x[batch]), y[batch])
            net.backward(dz)
            sgd(net, velocity, lr)
            losses.append(loss)
        yield float(np.mean(losses))


def accuracy(net: Sequential, x: Array, y: Labels) -> float:
    """Fraction of images whose largest logit is at the label."""
    return float((net.forward(x).argmax(1) == y).mean())


def mlp(rng: np.random.Generator) -> Sequential:
    """64 -> 64 -> 10 on 8x8 digits."""
    return Sequential(Flatten(), Dense(64, 64, rng), ReLU(), Dense(64, 10, rng))


def cnn(rng: np.random.Generator) -> Sequential:
    """Two 3x3 convolutions with pooling, then a dense layer, on 8x8 digits."""
    return Sequential(
        *(Conv(1, 16, 3, rng, p=1), ReLU(), MaxPool(2)),  # (n, 16, 4, 4)
        *(Conv(16, 32, 3, rng, p=1), ReLU(), MaxPool(2)),  # (n, 32, 2, 2)
        *(Flatten(), Dense(128, 10, rng)),
    )


def main(epochs: int = 10) -> dict[str, float]:
    """Train both networks on 80 % of the digits; the held-out accuracy of each."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(0)
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(images))
    x, y = images[order].reshape(-1, 1, 8, 8) / 16, labels[order]
    n = len(x) * 8 // 10
    scores = {}
    for name, net, lr in (("MLP", mlp(rng), 0.05), ("CNN", cnn(rng), 0.05)):
        for epoch, loss in enumerate(fit(net, x[:n], y[:n], epochs, lr, rng), start=1):
            scores[name] = accuracy(net, x[n:], y[n:])
            print(f"{name} epoch {epoch:2}: loss {loss:.4f}, held-out accuracy {scores[name]:.2%}")
    return scores


if __name__ == "__main__":
    main()
