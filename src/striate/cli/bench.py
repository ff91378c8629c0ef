"""`striate bench train NET`."""

from typing import Annotated

import typer

from striate.cli.common import Debug, InputShape, Json, NetWord, NumClasses, Verbs, emit, shape

bench = typer.Typer(cls=Verbs, help="Measure speed on this machine.", rich_markup_mode=None)


@bench.command()
def train(
    net: NetWord,
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", min=1, help="images a step")] = 64,
    image: InputShape = None,
    num_classes: NumClasses = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="how long to measure")] = 5.0,
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N|mps", help="where")
    ] = "auto",
    precision: Annotated[
        str, typer.Option("--precision", metavar="auto|fp32|bf16|fp16", help="arithmetic of the layers")
    ] = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Images a second of training, and the share of the machine's arithmetic."""
    from dataclasses import asdict

    from striate.anatomy import anatomy
    from striate.net import resolve
    from striate.train.speed import training_speed

    network = resolve(net, shape(image), num_classes)
    macs = anatomy(network.module, network.input_shape).macs
    speed = training_speed(
        network.module,
        network.input_shape,
        macs,
        batch_size=batch_size,
        seconds=seconds,
        device=device,
        precision=precision,
    )
    emit(
        {"net": network.name, "batch_size": batch_size, **asdict(speed), "share": speed.share},
        as_json,
        f"{network.name}, batch {batch_size}, {speed.precision} on {speed.device}: "
        f"{speed.images_per_second:,.0f} images/s, {1000 * speed.step_seconds:.2f} ms a step",
        f"{3 * macs * speed.images_per_second / 1e9:,.1f} of {speed.limit / 1e9:,.1f} billion multiply-adds/s "
        f"that a 3x3 convolution of 256 channels reaches here: {speed.share:.0%}",
    )
