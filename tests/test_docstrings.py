"""Config users read docstrings, not signatures: the two must say the same."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re

import pytest
from mmengine.hooks import Hook

import fna_mm
import tools

#: With more arguments than this, one sentence cannot name them all.
NO_SECTION_NEEDED = 3


def callables():
    """Every public class, method and function of the package and of the tools, by its dotted name."""
    for module in (found for package in (fna_mm, tools)
                   for found in pkgutil.walk_packages(package.__path__, f'{package.__name__}.')):
        if module.name.endswith('__main__'):
            continue
        for name, thing in vars(importlib.import_module(module.name)).items():
            if name.startswith('_') or getattr(thing, '__module__', None) != module.name:
                continue
            if inspect.isfunction(thing):
                yield f'{module.name}.{name}', thing
            elif inspect.isclass(thing):
                if '__init__' in vars(thing):
                    yield f'{module.name}.{name}', thing
                for method, value in vars(thing).items():
                    value = getattr(value, '__func__', value)
                    # A hook's moments have mmengine's signatures.
                    moment = issubclass(thing, Hook) and hasattr(Hook, method)
                    if inspect.isfunction(value) and not method.startswith('_') and not moment:
                        yield f'{module.name}.{name}.{method}', value


CALLABLES = dict(callables())


def parameters(thing):
    return {name: parameter for name, parameter in inspect.signature(thing).parameters.items()
            if name not in ('self', 'cls')}


def documented(thing):
    """Name → text of the entries in the Args section; None without such a section."""
    section = re.search(r'^Args:\n((?:    .*\n?|\n)+)', inspect.getdoc(thing) or '', re.MULTILINE)
    if section is None:
        return None
    entries = re.findall(r'^    (\w+)(?: \([^\n]*?\))?: ((?:.*)(?:\n     .*)*)', section[1], re.MULTILINE)
    return {name: re.sub(r'\s+', ' ', text) for name, text in entries}


def stated_default(text):
    """(whether there is one, its value or None if it is prose) of ``… Defaults to X.``"""
    match = re.search(r'Defaults to (.*?)(?:: .*)?(?: \([A-Z].*\))?\.?$', text)
    if match is None:
        return False, None
    expression = re.match(r"(None|'[^']*'|dict\([^)]*\)|\([^)]*\)|-?\d+(?:\.\d+)?|True|False)", match[1])
    if expression is None:
        return True, None
    node = ast.parse(expression[1], mode='eval').body
    if isinstance(node, ast.Call):
        return True, {word.arg: ast.literal_eval(word.value) for word in node.keywords}
    return True, ast.literal_eval(node)


def test_the_package_is_walked():
    assert {'fna_mm.backbones.fna_supernet.FNASuperNet', 'fna_mm.families.mbconv.MBConvSpec',
            'fna_mm.remapping.initializer.ParameterRemappingHook', 'fna_mm.cost.madds.madds_table',
            'fna_mm.architecture.Architecture.create', 'tools.bench.settings.Settings.create',
            'tools.results.collect.write_results'} <= set(CALLABLES)
    assert len(CALLABLES) > 60


@pytest.mark.parametrize('name', sorted(CALLABLES))
def test_arguments(name):
    thing = CALLABLES[name]
    assert inspect.getdoc(thing), 'no docstring'
    wanted, found = list(parameters(thing)), documented(thing)
    if found is None:
        own_class = inspect.isclass(thing) and (thing.__init__ is not object.__init__)
        assert not wanted or not own_class, f'no Args section for {wanted}'
        assert len(wanted) <= NO_SECTION_NEEDED, f'no Args section for {wanted}'
    else:
        assert list(found) == wanted


@pytest.mark.parametrize('name', [name for name in sorted(CALLABLES) if documented(CALLABLES[name])])
def test_defaults(name):
    thing = CALLABLES[name]
    for argument, text in documented(thing).items():
        parameter = parameters(thing)[argument]
        stated, value = stated_default(text)
        if parameter.default is inspect.Parameter.empty:
            assert not stated, f'{argument} has no default'
        elif isinstance(parameter.default, type(dataclasses.MISSING)) or parameter.default is None:
            # None may stand for something that is better said in words, or be left to "optional".
            assert value is None, f'{argument} defaults to None, not {value!r}'
        else:
            assert stated, f'{argument} does not say that it defaults to {parameter.default!r}'
            assert value == parameter.default, argument


@pytest.mark.parametrize(('text', 'expected'), [
    ('Sides. Defaults to (1, 2).', (True, (1, 2))),
    ('λ. Defaults to 0.02 (RetinaNet in the paper).', (True, .02)),
    ("Norm. Defaults to dict(type='BN').", (True, dict(type='BN'))),
    ('Init. Defaults to None: Kaiming.', (True, None)),
    ('Stride. Defaults to the own one.', (True, None)),
    ("Name. Defaults to 'first'.", (True, 'first')),
    ('Channels.', (False, None)),
])
def test_the_reader_of_defaults(text, expected):
    assert stated_default(text) == expected
