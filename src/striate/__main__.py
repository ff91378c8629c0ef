"""`python -m striate` is `striate`: what `torchrun -m striate train ...` starts."""

import sys

from striate.cli import main

sys.exit(main())
