"""How well a table of latencies predicts whole networks: random children, predicted and measured.

    python -m tools.results.latency_check CONFIG table.json --children 20 --out check.json
"""

import json
from pathlib import Path

import click
import numpy as np
import torch
from mmengine.config import Config
from scipy.stats import spearmanr

from fna_mm.cost.block_table import BlockTable
from fna_mm.latency.flow import Measuring, measure
from fna_mm.latency.measured_blocks import measured_network, random_networks

#: The table's own networks are drawn with seed 0.
_SEED = 1


def check(config: str, path: str, children: int, rounds: int = 30) -> dict:
    """Predict and measure random children of a config's backbone.

    Args:
        config (str): Path of the config that the table was made of.
        path (str): Path of the table.
        children (int): How many.
        rounds (int): Rounds of measurements. Defaults to 30.
    """
    table = BlockTable.read(path)
    made = table.made or {}
    threads = int(made.get('threads', 1))
    torch.set_num_threads(threads)
    network = measured_network(Config.fromfile(config), config, table.input_shape)
    measuring = Measuring(network, table.input_shape, made['runtime'], threads, 'cpu')
    drawn = random_networks(network, children, _SEED)
    times = measure(measuring.networks(drawn), rounds)
    predicted = np.array([table.of_network(architecture) for architecture in drawn])
    measured = np.array([times['network', index].median for index in range(children)])
    madds = np.array([architecture.madds(table.input_shape, table.output_stride) for architecture in drawn])
    errors = np.abs(predicted - measured) / measured
    return dict(
        config=config, device=made.get('device'), runtime=made.get('runtime'), threads=threads,
        children=children, spearman=rank_correlation(predicted, measured),
        spearman_of_madds=rank_correlation(madds, measured),
        mean_error=round(float(errors.mean()), 4), largest_error=round(float(errors.max()), 4),
        predicted=predicted.round(3).tolist(), measured=measured.round(3).tolist(),
        madds=madds.tolist())


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation; 0 if all values of one are equal, as times that are too short to be told apart.

    Args:
        one (np.ndarray): Values, (N,).
        other (np.ndarray): Other ones.
    """
    constant = np.ptp(one) == 0 or np.ptp(other) == 0
    return 0. if constant else round(float(spearmanr(one, other).statistic), 4)


@click.command()
@click.argument('config')
@click.argument('table')
@click.option('--children', default=20, show_default=True)
@click.option('--out', help='Write everything as JSON.')
def main(config: str, table: str, children: int, out: str) -> None:
    """Print Spearman's rank correlation and the errors."""
    result = check(config, table, children)
    if out:
        Path(out).write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    click.echo(f'{children} random children on {result["device"]}, {result["runtime"]}, {result["threads"]} thread(s): '
               f'Spearman {result["spearman"]:.3f} (of MAdds {result["spearman_of_madds"]:.3f}), mean error '
               f'{result["mean_error"]:.1%}, largest {result["largest_error"]:.1%}; '
               f'{min(result["measured"]):.1f} to {max(result["measured"]):.1f} ms')


if __name__ == '__main__':
    main()
