"""The zoo: one file a paper, one surface, built by name."""

from striate.zoo.registry import Card, arguments, build, card, cards, golden, register

__all__ = ["Card", "arguments", "build", "card", "cards", "golden", "register"]
