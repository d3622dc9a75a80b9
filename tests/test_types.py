"The annotations of the library agree with each other: mypy, with the settings of pyproject.toml"
import importlib.util, subprocess, sys
from pathlib import Path

import pytest

root = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(importlib.util.find_spec('mypy') is None, reason='needs mypy')


def mypy(*args, cache):
    return subprocess.run([sys.executable, '-m', 'mypy', '--cache-dir', str(cache), *args], cwd=root, capture_output=True, text=True)

def test_annotations(tmp_path):
    r = mypy(cache=tmp_path)
    assert r.returncode == 0, r.stdout[-4000:] + r.stderr[-2000:]

def test_a_wrong_annotation_is_found(tmp_path):
    "The settings do not hide what they should find"
    file = tmp_path/'wrong.py'
    file.write_text('def f(n:int) -> str: return n\n', encoding='utf-8')
    r = mypy('--config-file', str(root/'pyproject.toml'), str(file), cache=tmp_path/'cache')
    assert r.returncode == 1 and 'return-value' in r.stdout, r.stdout + r.stderr
