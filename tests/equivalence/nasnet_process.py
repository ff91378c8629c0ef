"""Keras' NASNet answers in a process of its own: `python nasnet_process.py NASNetMobile SIDE OUT.npz`.

Keras refuses NASNet on its torch backend, and a process has one backend. Writes the images, the random weights, the
logits in eval mode and the gradients of the cross-entropy of classes 0, 1, ... in train mode, in double precision.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf

name, side, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float64")
net = getattr(keras.applications, name)(
    weights=None, classifier_activation=None, classes=10, input_shape=(side, side, 3)
)
variables = {f"{layer.name}/{w.name}": w for layer in net.layers for w in layer.weights}
rng = np.random.default_rng(0)
for w in net.weights:
    if w.name in ("gamma", "moving_variance"):
        w.assign(rng.uniform(0.5, 1.5, w.shape))
    elif w.name in ("beta", "moving_mean", "bias"):
        w.assign(rng.normal(0, 0.1, w.shape))
written = {f"weight {key}": w.numpy() for key, w in variables.items()}

x = rng.normal(size=(4, side, side, 3))
written |= {"x": x, "logits": net(x, training=False).numpy()}
with tf.GradientTape() as tape:
    loss = keras.losses.sparse_categorical_crossentropy(np.arange(4), net(x, training=True), from_logits=True)
    loss = tf.reduce_mean(loss)
trained = {key: w for key, w in variables.items() if w.trainable}
gradients = tape.gradient(loss, [w.value for w in trained.values()])
written |= {f"gradient {key}": grad.numpy() for key, grad in zip(trained, gradients, strict=True)}
np.savez(out, **written)
