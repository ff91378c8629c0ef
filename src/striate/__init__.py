"""Design a convolutional network in one line of text, see every number before training, train it, take it apart."""

__version__ = "0.1.0"
