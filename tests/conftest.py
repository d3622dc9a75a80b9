"Fixtures for all tests"
import os
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def repo():
    "The root of the repository"
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def ucr_path():
    "A folder with archive data, `<Name>/<Name>_TRAIN.{ts,tsv}`: the first directory named in TSFAST_DATA; without one the test is skipped"
    dirs = [Path(o).expanduser() for o in os.environ.get('TSFAST_DATA', '').split(os.pathsep) if o]
    if not dirs: pytest.skip('needs archive data: set TSFAST_DATA to a folder that holds <Name>/<Name>_TRAIN.ts')
    if not dirs[0].is_dir(): pytest.fail(f'TSFAST_DATA names {dirs[0]}, which is not a folder')
    return dirs[0].resolve()


@pytest.fixture(autouse=True)
def _same_draws():
    "A test that draws without a seed draws the same in every run, whatever ran before it"
    from tsfast.core import seeded
    with seeded(0): yield
