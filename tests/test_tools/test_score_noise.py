"""How much of a score is noise, from the files of an adaptation."""

import json
import re

import numpy as np
import pytest

from tools.results.score_noise import main, noise_of

IMAGES, CANDIDATES = 12, 30


def adapted(folder, noise):
    """Write the scores of two processes: true ones times images that differ, errors of two maps that hardly do."""
    random = np.random.default_rng(1)
    truth = random.lognormal(-3, 1, CANDIDATES)
    rows = [{'trained model': [1., 0., 0.], **{
        f'{number}:8:0': [1. + score * (1 + noise * random.normal()), *(score * (1 + .1 * random.normal(0, 1, 2)))]
        for number, score in enumerate(truth)}} for _ in range(IMAGES)]
    folder.mkdir()
    for rank in (0, 1):
        (folder / f'scores_{rank}.json').write_text(json.dumps(
            {str(image): row for image, row in enumerate(rows) if image % 2 == rank}))
    return folder


def test_the_noise_is_that_of_the_files(tmp_path, capsys):
    quiet, loud = (adapted(tmp_path / str(noise), noise) for noise in (.3, 2.))
    for folder, wanted in ((quiet, .3), (loud, 2.)):
        noise = noise_of(folder)
        assert noise[:2] == (IMAGES, CANDIDATES)
        assert noise.loss == pytest.approx(wanted, rel=.4)
        assert noise.maps < .15
        assert noise.spread < .3
    main([str(quiet), str(loud)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f'{loud}: 30 candidates on 12 images; ')
    assert re.search(r'off by \d+% by the loss, by \d+% by the maps, which the loss follows within \d+%$', lines[1])


def test_a_folder_without_scores_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'has no scores_0\.json'):
        noise_of(tmp_path)
    with pytest.raises(SystemExit, match='score_noise ADAPTED'):
        main([])
