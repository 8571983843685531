import math

import pytest

from fna_mm.checks import check_input_shape, check_integer, check_number


@pytest.mark.parametrize(('value', 'arguments'), [(1, {}), (0, dict(least=0)), (7, dict(most=7)), (-3, dict(least=-3))])
def test_integers_in_range_come_back(value, arguments):
    assert check_integer('x', value, **arguments) == value


@pytest.mark.parametrize(('value', 'arguments', 'wanted'), [
    (0, {}, 'a positive integer'), (True, {}, 'a positive integer'), (2., {}, 'a positive integer'),
    ('2', {}, 'a positive integer'), (None, {}, 'a positive integer'), (1, dict(least=2), 'an integer of at least 2'),
    (8, dict(most=7), 'an integer from 1 to 7'), (8, dict(most=7, note=' or None'), 'an integer from 1 to 7 or None')])
def test_anything_else_is_named(value, arguments, wanted):
    with pytest.raises(ValueError, match=f'^x must be {wanted}, not {value!r}$'):
        check_integer('x', value, **arguments)


@pytest.mark.parametrize(('value', 'arguments'), [
    (1, {}), (-.5, {}), (0, dict(least=0)), (.1, dict(above=0)), (.9, dict(above=0, below=1))])
def test_numbers_in_range_come_back_as_floats(value, arguments):
    result = check_number('x', value, **arguments)
    assert (result, type(result)) == (value, float)


@pytest.mark.parametrize(('value', 'arguments', 'wanted'), [
    (math.nan, {}, 'a number'), (math.inf, {}, 'a number'), ('1', {}, 'a number'), (True, {}, 'a number'),
    (0, dict(above=0), 'a positive number'), (-1, dict(least=0), 'a number of at least 0'),
    (1, dict(above=0, below=1), 'a number above 0 and below 1')])
def test_no_number_in_range(value, arguments, wanted):
    with pytest.raises(ValueError, match=f'^x must be {wanted}, not {value!r}$'):
        check_number('x', value, **arguments)


@pytest.mark.parametrize('value', [None, 3, '64', (64, ), (64, 64, 3), (0, 64), (64., 64), (True, 64)])
def test_a_size_is_height_and_width(value):
    assert check_input_shape([800, 1088]) == (800, 1088)
    with pytest.raises(ValueError, match=r'^size must be \(height, width\) in pixels, such as \(800, 1088\), not '):
        check_input_shape(value, 'size')
