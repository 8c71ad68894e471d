"""`evalkit parity`: whether two engines give the same replies."""

from typing import Any

import click


@click.command()
@click.option("--model", "-m", required=True, help="A checkpoint: a directory, a hub id, or a name in configs/models.")
@click.option("--tasks", "-t", required=True, help="Tasks, comma between.")
@click.option("--engines", default="transformers,vllm", show_default=True, help="The two engines.")
@click.option("--protocol", "-p", help="How samples are asked.")
@click.option("--limit", type=int, help="At least this many samples, in whole groups.")
@click.option("--data", help="A folder with the data, or task=DIR,task=DIR.")
@click.option("--out", help="Where run folders go.  [default: results/runs]")
@click.option("--dtype", help="float32, bfloat16, float16.")
@click.option("--engine-args", multiple=True, help="name=value of vLLM's own arguments; can be given again.")
@click.option("--shown", default=5, show_default=True, help="How many differing samples to show a task.")
def command(engines: str, shown: int, **given: Any) -> int:
    """Run the same tasks on two engines and compare reply by reply.

    Exit code: 0 where at least 99% of the replies of each task are identical, or the others part where the model's two likeliest
    tokens are within 0.001 in log-probability; else 1.
    """
    from ..parity import compare

    options = {name: value for name, value in given.items() if value is not None and value != ()}
    found = compare(options.pop("model"), options.pop("tasks"), engines.split(","), **options)
    for parity in found:
        share = parity.identical / parity.samples
        low, high = parity.score.low, parity.score.high
        interval = f" ({low:+.4f} to {high:+.4f})" if low is not None and high is not None else ""
        click.echo(f"{parity.task}: {parity.identical} of {parity.samples} replies identical ({share:.2%})")
        click.echo(f"  score, {engines.partition(',')[2]} minus {engines.partition(',')[0]}: {parity.score.value or 0:+.4f}{interval}")
        for difference in parity.differences[:shown]:
            margin = "unknown" if difference.margin is None else f"{difference.margin:.6f}"
            click.echo(
                f"  {difference.sample}: the same for {len(difference.same)} characters; there the two likeliest tokens are {margin} apart"
            )
            for reply in difference.replies:
                click.echo(f"    {reply[max(len(difference.same) - 30, 0) :][:100]!r}")
    return 0 if all(parity.excused for parity in found) else 1
