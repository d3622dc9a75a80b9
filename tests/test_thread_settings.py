"Threads: what a process may use, what the command and the Makefile set, and that an import sets nothing"
import math, os, shutil, subprocess, sys

import pytest

from tsfast import threads
from tsfast.threads import cpu_quota, default_threads, set_thread_defaults, usable_cores

NAMES = ('OMP_NUM_THREADS', 'NUMBA_NUM_THREADS', 'OMP_WAIT_POLICY', 'KMP_BLOCKTIME', 'GOMP_SPINCOUNT', 'KMP_LIBRARY', 'MKL_NUM_THREADS')
IDLE = dict(OMP_WAIT_POLICY='PASSIVE', KMP_BLOCKTIME='0')


def environ(repo, **env):
    "The environment of a process in which nobody has asked for threads, but for `env`"
    return {**{k: v for k, v in os.environ.items() if k not in NAMES}, 'PYTHONPATH': str(repo), **env}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    "`machine(cores, affinity, files)`: a folder to take for the root, on a machine with so many cores, of which the process may use some"
    def make(cores, affinity, files):
        monkeypatch.setattr(os, 'cpu_count', lambda: cores)
        if affinity is None: monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
        else: monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(affinity)), raising=False)
        for name, text in files.items():
            f = tmp_path/name
            f.parent.mkdir(parents=True, exist_ok=True); f.write_text(text)
        return tmp_path
    return make


V1 = '9:name=systemd:/\n4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n'
@pytest.mark.parametrize('cores, affinity, files, quota, usable', [
    (8, 8, {}, math.inf, 8),                                                                             # not Linux, or nothing to read
    (8, None, {}, math.inf, 8),                                                                          # no affinity, as on macOS
    (None, None, {}, math.inf, 1),                                                                       # nothing known at all
    (8, 3, {}, math.inf, 3),                                                                             # taskset
    (8, 8, {'proc/self/cgroup': '0::/', 'sys/fs/cgroup/cpu.max': 'max 100000'}, math.inf, 8),
    (8, 8, {'proc/self/cgroup': '0::/', 'sys/fs/cgroup/cpu.max': '200000 100000'}, 2, 2),                # docker run --cpus 2
    (8, 2, {'proc/self/cgroup': '0::/', 'sys/fs/cgroup/cpu.max': '400000 100000'}, 4, 2),                # both: the lower one
    (8, 8, {'proc/self/cgroup': '0::/', 'sys/fs/cgroup/cpu.max': '20000 100000'}, .2, 1),                # one thread at least
    (8, 8, {'proc/self/cgroup': '0::/', 'sys/fs/cgroup/cpu.max': '160000 100000'}, 1.6, 2),
    (8, 8, {'proc/self/cgroup': '0::/a/b', 'sys/fs/cgroup/a/b/cpu.max': '500000 100000', 'sys/fs/cgroup/a/cpu.max': '300000 100000'}, 3, 3),   # the group above has less
    (8, 8, {'proc/self/cgroup': '0::/../other', 'sys/fs/cgroup/cpu.max': '200000 100000'}, 2, 2),        # a path that a container does not see
    (8, 8, {'proc/self/cgroup': V1, 'sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us': '150000', 'sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us': '50000'}, 3, 3),
    (8, 8, {'proc/self/cgroup': V1, 'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '200000', 'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000'}, 2, 2),   # mounted where the container's own group is
    (8, 8, {'proc/self/cgroup': V1, 'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1', 'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000'}, math.inf, 8)])
def test_usable_cores(machine, cores, affinity, files, quota, usable):
    root = machine(cores, affinity, files)
    assert cpu_quota(root) == quota and usable_cores(root) == usable


def test_as_others_count(monkeypatch):
    "joblib, which scikit-learn uses, finds no fewer cores, and more only where a fraction of one is left or a group above has the quota"
    monkeypatch.delenv('LOKY_MAX_CPU_COUNT', raising=False)
    assert 1 <= usable_cores() <= __import__('joblib').cpu_count()
    assert default_threads() == min(usable_cores(), 4)


@pytest.mark.parametrize('user, n, expected', [
    ({}, None, dict(OMP_NUM_THREADS='4', NUMBA_NUM_THREADS='4', **IDLE)),
    ({}, 1, dict(OMP_NUM_THREADS='1', NUMBA_NUM_THREADS='1', **IDLE)),
    ({'OMP_NUM_THREADS': '9'}, 1, dict(NUMBA_NUM_THREADS='9', **IDLE)),
    ({'OMP_NUM_THREADS': '6,2'}, None, dict(NUMBA_NUM_THREADS='6', **IDLE)),
    ({'OMP_NUM_THREADS': ''}, 2, dict(OMP_NUM_THREADS='2', NUMBA_NUM_THREADS='2', **IDLE)),
    ({'NUMBA_NUM_THREADS': '3'}, 2, dict(OMP_NUM_THREADS='2', **IDLE)),
    ({'OMP_WAIT_POLICY': 'ACTIVE'}, 2, dict(OMP_NUM_THREADS='2', NUMBA_NUM_THREADS='2')),
    ({'GOMP_SPINCOUNT': '1000'}, 2, dict(OMP_NUM_THREADS='2', NUMBA_NUM_THREADS='2')),
    ({'KMP_BLOCKTIME': '5'}, 2, dict(OMP_NUM_THREADS='2', NUMBA_NUM_THREADS='2'))])
def test_set_thread_defaults(monkeypatch, machine, user, n, expected):
    "What is set, and that the user's variables stay"
    machine(8, 8, {})
    monkeypatch.setattr(threads, 'cpu_quota', lambda root: math.inf)
    for k in NAMES: monkeypatch.setenv(k, ''); monkeypatch.delenv(k)        # `monkeypatch` puts back what the function sets
    for k, v in user.items(): monkeypatch.setenv(k, v)
    before = dict(os.environ)
    assert set_thread_defaults(n) == expected
    assert dict(os.environ) == {**before, **expected}
    assert set_thread_defaults(n) == {}                                      # the second time there is nothing left to do


AFTER = 'import os, sys, torch; print(torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS"), os.environ.get("OMP_WAIT_POLICY"))'

def test_command(repo):
    "The command sets them before torch is loaded; the user's number stays"
    code = f'from tsfast.cli import main\ntry: main(["--version"])\nexcept SystemExit: pass\n{AFTER}'
    run = lambda **env: subprocess.run([sys.executable, '-c', code], env=environ(repo, **env), capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    n = default_threads()
    assert run() == f'{n} {n} PASSIVE'
    assert run(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='ACTIVE') == '1 1 ACTIVE'   # MKL takes no more than there are cores


def test_import_sets_nothing(repo):
    "Neither the environment nor torch's number of threads changes with an import (fastai sets two variables of Intel's runtime)"
    code = 'import os, torch, fastai.basics; before = dict(os.environ), torch.get_num_threads()\nfrom tsfast.all import *\nimport tsfast.cli, tsfast.threads, tsfast.estimators\nassert (dict(os.environ), torch.get_num_threads()) == before'
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env=environ(repo), check=True)


@pytest.mark.skipif(os.name == 'nt' or not shutil.which('make'), reason='needs make')
@pytest.mark.parametrize('verb', ['demo', 'test', 'docs', 'bench'])
def test_make(repo, tmp_path, verb):
    "Each verb of the Makefile runs with one thread, benchmarks with one a core; what the environment and the command line say comes first"
    for o in ('python', 'tsfast'):
        (tmp_path/o).write_text('#!/bin/sh\necho $OMP_NUM_THREADS $NUMBA_NUM_THREADS $OMP_WAIT_POLICY $KMP_BLOCKTIME\n'); (tmp_path/o).chmod(0o755)
    def run(*args, **env):
        made = [f'-o.venv/.{o}' for o in ('run', 'dev', 'docs')]     # as if they were there
        env = {k: v for k, v in environ(repo, **env).items() if not k.startswith('MAKE')}
        out = subprocess.run(['make', '-s', *made, f'BIN={tmp_path}', f'PYTHON={sys.executable}', verb, *args], cwd=repo, env=env, capture_output=True, text=True, check=True).stdout
        return set(out.splitlines())
    n = default_threads() if verb == 'bench' else 1
    assert run() == {f'{n} {n} PASSIVE 0'}
    assert run(OMP_NUM_THREADS='3', NUMBA_NUM_THREADS='5') == {'3 5 PASSIVE 0'}
    assert run('OMP_NUM_THREADS=7') == {'7 7 PASSIVE 0'}
    assert run(OMP_WAIT_POLICY='ACTIVE') == {f'{n} {n} ACTIVE'}


def test_before_anything_is_installed(repo):
    "The Makefile asks for the number by the file's path, with a bare Python"
    r = subprocess.run([sys.executable, '-I', '-S', str(repo/'tsfast'/'threads.py')], capture_output=True, text=True, check=True)
    assert r.stdout == f'{default_threads()}\n'


def test_docs_build(repo, monkeypatch, tmp_path):
    "The builder of the pages starts its notebooks with one thread each, or with the user's number"
    code = '''import sys, os
sys.path.insert(0, "docs"); sys.argv = ["build.py"]
import build, types
seen = {}
def executed(pages, jobs, *args): print(jobs, os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules); sys.exit()
for name, what in dict(check_links=dict(check=None), pages=dict(find_pages=list, write_site=None)).items(): sys.modules[name] = types.SimpleNamespace(**what)
sys.modules.update({"sphinx": types.ModuleType("sphinx"), "sphinx.cmd": types.ModuleType("sphinx.cmd"), "sphinx.cmd.build": types.SimpleNamespace(build_main=None)})
build.executed = executed; build.main()'''
    run = lambda **env: subprocess.run([sys.executable, '-c', code], cwd=repo, env=environ(repo, **env), capture_output=True, text=True, check=True).stdout.split()
    assert run() == [str(default_threads()), '1', 'PASSIVE', 'False']
    assert run(OMP_NUM_THREADS='2') == [str(default_threads()), '2', 'PASSIVE', 'False']
