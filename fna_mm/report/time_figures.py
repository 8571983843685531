"""The figure of time accounts."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from fna_mm.report.canvas import NARROW, WIDE, new_figure

#: Colour and hatch of each part in order. They differ in a grey print too.
_LOOKS = (('#1b1b6b', ''), ('#d55e00', '///'), ('#f0e442', 'xx'), ('#56b4e9', '\\\\\\'), ('#dddddd', ''))


def time_figure(accounts: Mapping[str, Mapping[str, float]], title: str = 'Minutes', narrow: bool = False) -> Figure:
    """Draw a bar for each run, divided into the parts on which its time was spent.

    Args:
        accounts (Mapping): Name of a run → part → seconds.
        title (str): Title above the picture. Defaults to 'Minutes'.
        narrow (bool): Draw for a narrow page. Defaults to False.
    """
    known = list(dict.fromkeys(part for account in accounts.values() for part in account))
    parts = [part for part in known if any(account.get(part) for account in accounts.values())]
    width, legend_columns = (NARROW, 2) if narrow else (WIDE, max(1, len(parts)))
    height = .75 + .5 * len(accounts) + .2 * -(-len(parts) // legend_columns)
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    for row, (name, account) in enumerate(accounts.items()):
        left = 0.
        for part in parts:
            color, hatch = _LOOKS[known.index(part) % len(_LOOKS)]
            minutes = account.get(part, 0.) / 60
            axes.barh(-row, minutes, .42, left, color=color, hatch=hatch, edgecolor='white', linewidth=.6,
                      label=part if row == 0 else None)
            left += minutes
        axes.text(0, -row + .25, f'{name}: {left:.1f}', fontsize=8, ha='left', va='bottom')
    axes.set_ylim(-len(accounts) + .7, .65)
    axes.set_yticks([])
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.tick_params(labelsize=7)
    axes.set_xlabel('minutes', fontsize=8)
    axes.set_title(title, fontsize=9)
    figure.legend(loc='outside lower center', ncols=legend_columns, fontsize=7, frameon=False)
    return figure
