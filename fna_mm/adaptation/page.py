"""The page of an adaptation, made from ``front.json``."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from fna_mm.adaptation.figures import front_figure, growth_figure, layers_figure, scores_figure
from fna_mm.adaptation.prices import COUNTED
from fna_mm.report.canvas import image_to_png, to_image, to_svg
from fna_mm.report.drawing import Drawn
from fna_mm.report.html import Table, rendered
from fna_mm.report.run import main_metric


def _drawn(name: str, caption: str, draw: Any, narrow: bool = True) -> Drawn:
    wide = draw(False)
    return Drawn(name, caption, to_image(wide), to_svg(wide), to_svg(draw(True)) if narrow else None)


def adaptation_figures(values: Mapping[str, Any]) -> list[Drawn]:
    """The figures of an adaptation.

    Args:
        values (Mapping): The content of ``front.json``.
    """
    blocks, metric = values['blocks'], main_metric(values['trained']['metrics'])
    figures = [
        _drawn('front', 'What the model costs and what its loss is, on training images that no fit saw. The curve is '
               'the prediction from scores; the points are children after their refit, without any training.',
               lambda narrow: front_figure(values, metric, narrow)),
        _drawn('scores', 'By how much the loss grows when one block keeps a share of its hidden channels, all else '
               'unchanged. Points were measured, the rest is interpolated.',
               lambda narrow: scores_figure(blocks, narrow))]
    if growth := values.get('growth'):
        figures.append(_drawn(
            'growth', 'By how much the loss changes when one layer grows, all else unchanged. Below zero is a gain. '
            'Bars are one standard error; a gain counts less two of them.',
            lambda narrow: growth_figure(growth['candidates'], narrow)))
    for child in values['children']:
        figures.append(_drawn(
            f'layers_{child["budget"]}', f'The layers of the child of budget {child["budget"]}.',
            lambda narrow, child=child: layers_figure(child['layers'], f'budget {child["budget"]}', narrow),
            narrow=False))
    return figures


def _percent(share: float) -> str:
    return f'{share:.1%}'


def _results(values: Mapping[str, Any]) -> Table:
    trained, metric = values['trained'], main_metric(values['trained']['metrics'])
    counted = values['unit'] in COUNTED.values()
    unit, one = (f'million {values["unit"]}', 1e6) if counted else (values['unit'], 1.)
    rest = None if trained['model'] is None else trained['model'] - trained['backbone']

    def whole(backbone: float, child: Optional[Mapping[str, Any]] = None) -> str:
        if rest is None:
            return '–'
        model = child['share_of_model'] * trained['model'] if child else backbone + rest
        return f'{model / one:.4g}'

    headers = ['', f'backbone, {unit}', 'share of the backbone', f'model, {unit}', 'share of the model',
               'loss, predicted', 'loss, measured', *([f'{metric}, validation'] if metric else [])]
    rows = [['trained model', f'{trained["backbone"] / one:.4g}', '100%', whole(trained['backbone']), '100%', '',
             f'{trained["loss"]:.4f}', *([f'{trained["metrics"][metric]:.4g}'] if metric else [])]]
    growth = values.get('growth')
    if growth and not growth['kept']:
        rows.append(['rehearsed model', *rows[0][1:5], '', f'{growth["loss"]:.4f}',
                     *([f'{growth["metrics"][metric]:.4g}'] if metric else [])])
    loss = growth['loss'] if growth else trained['loss']
    for child in values['children']:
        rows.append([
            f'budget {child["budget"]}', f'{child["cost"] / one:.4g}', _percent(child['share']),
            whole(child['cost'], child), '–' if child['share_of_model'] is None else _percent(child['share_of_model']),
            f'{loss + child["predicted"]:.4f} ± {child["predicted_error"]:.4f}',
            f'{loss + child["measured"]:.4f}',
            *([f'{child["metrics"][metric]:.4g}' if metric in child['metrics'] else '–'] if metric else [])])
    height, width = values['input_shape']
    return Table(
        headers, rows, f'Children as they were written, without any training. Costs are those of images of '
        f'{height}x{width}.{" A multiply-add counts once." if counted else ""}')


def said_of_fixed(fixed: Mapping[str, float]) -> str:
    """Say what outside of the backbone stays as it is.

    Args:
        fixed (Mapping[str, float]): Name of a part → the share of the model's cost that cannot be narrowed in it.
    """
    return 'cannot be narrowed: ' + ', '.join(
        f'{name} {_percent(share)}' for name, share in sorted(fixed.items(), key=lambda item: -item[1]))


def _widths(values: Mapping[str, Any]) -> Optional[Table]:
    """What became of the widths of neck and head, or of those that these read; None if they could not change."""
    of_outside = {row['name']: row['width'] for row in values.get('outside') or ()}
    of_taps = {name: values['children'][0]['outside'][name][0] for name in values.get('taps') or ()}
    widths = of_outside or of_taps
    if not widths:
        return None
    names = list(widths)
    rows = [['trained model', *map(str, widths.values())]]
    rows += [[f'budget {child["budget"]}', *(str(child['outside'][name][1]) for name in names)]
             for child in values['children']]
    fixed = f' Else {_fixed(values)}.' if values.get('fixed') else ''
    whose = 'of neck and head' if of_outside else 'of the backbone that neck and head read, which are built for them'
    return Table(('', *names), rows, f'Channels {whose}.{fixed}', kind='widths')


def _fixed(values: Mapping[str, Any]) -> str:
    return f'{said_of_fixed(values["fixed"])} of the trained model'


def _growth(values: Mapping[str, Any]) -> str:
    growth = values.get('growth')
    if not growth:
        return ''
    grown = [row['name'] for child in values['children'] for row in child['layers']
             if row['width'] > row['hidden'] or row['new_kernel'] > row['kernel']]
    kept = ('The trained weights stayed as they are. ' if growth['kept'] else
            f'That also trained the network itself: it took the loss from {values["trained"]["loss"]:.4f} to '
            f'{growth["loss"]:.4f} on these images. What children are said to be is counted from there. ')
    return (f'Layers could also grow: all candidates were rehearsed together for {growth["steps"]} weight steps, on '
            'paths near the trained network, without the images that scores are measured on. ' + kept
            + (f'{len(grown)} layers of the children grew.' if grown else 'No child has a layer that grew: no gain was '
               'worth its cost, or larger than two standard errors.'))


def _commands(values: Mapping[str, Any], folder: str) -> list[str]:
    lines = []
    for child in values['children']:
        config = os.path.join(folder, child['folder'], 'child_config.py')
        checkpoint = os.path.join(folder, child['folder'], 'child.pth')
        lines += [f'mim test {values["package"]} {config} --checkpoint {checkpoint}',
                  f'mim train {values["package"]} {config}']
    return lines


def _said_of_maps(values: Mapping[str, Any]) -> str:
    """What made the scores certain: '' if the maps say nothing about the loss."""
    known = values.get('maps')
    if not known:
        return ''
    said = ' by the loss and by the errors of the backbone\'s maps'
    if known['spread'] >= 1:
        return said + ('; the loss of this model hardly follows these, as if it were not trained to the end: then the '
                       'maps alone order the candidates, and the prediction says little')
    return said + f', which the loss follows within {known["spread"]:.0%}'


def adaptation_page(values: Mapping[str, Any], folder: str, figures: Sequence[Drawn]) -> str:
    """Make the page.

    Args:
        values (Mapping): The content of ``front.json``.
        folder (str): Path of the work directory, for the commands.
        figures (Sequence[Drawn]): What :func:`adaptation_figures` gave.
    """
    minutes = Table(
        ('', *values['seconds'], 'in all'),
        [['minutes', *(f'{seconds / 60:.1f}' for seconds in values['seconds'].values()),
          f'{sum(values["seconds"].values()) / 60:.1f}']],
        f'Statistics on {values["images"]["statistics"]} training images; {values["candidates"]} candidates scored on '
        f'{values["images"]["scores"]} others{_said_of_maps(values)}.')
    widths = _widths(values)
    fixed = f'Outside of the backbone {_fixed(values)}.' if values.get('fixed') and widths is None else ''
    return rendered('adaptation.html', title=f'FNA: {values["config"]} adapted', config=values['config'],
                    results=_results(values), commands=_commands(values, folder), widths=widths,
                    texts=[text for text in (fixed, _growth(values)) if text], figures=figures, minutes=minutes)


def report_files(values: Mapping[str, Any], folder: str) -> dict[str, bytes]:
    """The files of the report: path in the work directory → content.

    Args:
        values (Mapping): The content of ``front.json``.
        folder (str): Path of the work directory.
    """
    figures, files = adaptation_figures(values), {}
    for figure in figures:
        files[f'report/{figure.name}.svg'] = figure.svg
        if figure.narrow_svg is not None:
            files[f'report/{figure.name}_narrow.svg'] = figure.narrow_svg
        files[f'report/{figure.name}.png'] = image_to_png(figure.image)
    files['report/index.html'] = adaptation_page(values, folder, figures).encode()
    return files
