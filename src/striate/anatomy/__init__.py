"""Every number about a network before it is trained: parameters, multiply-adds, receptive field, memory, advice."""

from striate.anatomy.advice import Advice
from striate.anatomy.anatomy import Anatomy, Row, anatomy
from striate.anatomy.compare import Comparison, compare, latency
from striate.anatomy.memory import Memory, largest_batch, memory, savings

__all__ = [
    "Advice",
    "Anatomy",
    "Comparison",
    "Memory",
    "Row",
    "anatomy",
    "compare",
    "largest_batch",
    "latency",
    "memory",
    "savings",
]
