"""A process that has imported what most verbs need, and forks for each job: a command starts in milliseconds.

Reads one JSON object a line, {argv or code, folder, log}; answers each with the job's exit code.
"""

import json
import os
import sys
import traceback
import warnings
from importlib import import_module
from typing import Any


def run(job: dict[str, Any]) -> int:
    """The job in this process, its output in the file `log`: exit code."""
    from striate.cli import main

    os.chdir(job["folder"])
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if "argv" in job:
        return main(job["argv"])
    warnings.simplefilter("error")
    exec(compile(job["code"], "block", "exec"), {"__name__": "__main__"})
    return 0


def serve() -> None:
    """Fork for every line of standard input."""
    for module in (
        "matplotlib.pyplot",
        "optuna",
        "sklearn.manifold",
        "striate.explain.embedding",
        "striate.tune",
    ):
        import_module(module)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = run(json.loads(line))
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
