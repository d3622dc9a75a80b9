"What star imports bring, and what they leave alone"
import importlib, inspect, os, subprocess, sys

import pytest

doors = ['tsfast.all', 'tsfast.basics', 'tsfast.imports', 'tsfast.data.all', 'tsfast.models.all']


@pytest.mark.parametrize('door', doors)
def test_modules_of_the_standard_library_are_left_alone(door):
    "`import copy, datetime` before a star import still means the modules after it"
    names = {}
    exec(f'from {door} import *', names)
    assert not {k: v for k, v in names.items() if k in sys.stdlib_module_names and v is not sys.modules[k]}


def test_names_that_pages_use():
    m = importlib.import_module('tsfast.all')
    for name in 'torch nn F test_eq default_device count_parameters check_weight check_bias is_bn is_conv accuracy np pd Path partial'.split(): assert name in m.__all__, name


def test_load_learner_is_the_own_one():
    "fastai's would come with its star import, and leave the path that of the training machine"
    assert inspect.getmodule(importlib.import_module('tsfast.all').load_learner).__name__ == 'tsfast.learner.saving'


@pytest.mark.parametrize('door', ['tsfast.data.all', 'tsfast.basics', 'tsfast.all'])
def test_loaders_from_frames_and_files(door):
    "A door brings the factory methods of `TSDataLoaders`, without a further import"
    code = f"from {door} import *; print(*(o for o in dir(TSDataLoaders) if o.startswith('from_')))"
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=os.environ | dict(PYTHONPATH=os.getcwd()))
    assert r.returncode == 0, r.stderr[-2000:]
    assert {f'from_{o}' for o in 'df csv parquet folder arrays series dsets'.split()} <= set(r.stdout.split())
