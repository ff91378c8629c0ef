"""Importing this file registers every network: one line a paper."""

# ruff: noqa: F401
import striate.zoo.mlp
