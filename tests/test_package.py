"What users install: an sdist, a wheel built from it, and that wheel in an environment of its own, away from the repository"
import email, os, re, shutil, site, subprocess, sys, tarfile, zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

root = Path(__file__).resolve().parents[1]


def run(*args, cwd):
    env = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'IN_TEST')}
    r = subprocess.run([str(o) for o in args], cwd=cwd, env=env, capture_output=True, text=True)
    assert not r.returncode, f'{" ".join(map(str, args))}\n{r.stdout}{r.stderr}'
    return r.stdout


@pytest.fixture(scope='module')
def dist(tmp_path_factory):
    "The folder with the sdist and the wheel built from it; from a copy, which leaves the working tree alone"
    pytest.importorskip('build', reason='needs the development requirements')
    tmp = tmp_path_factory.mktemp('package')
    src = tmp/'src'
    src.mkdir()
    shutil.copytree(root/'tsfast', src/'tsfast', ignore=shutil.ignore_patterns('__pycache__'))
    for o in root.iterdir():
        if o.is_file() and not o.name.startswith('.'): shutil.copy2(o, src)
    run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', tmp/'dist', src, cwd=tmp)  # no --wheel: the wheel comes from the sdist
    return tmp/'dist'


def content():
    "The files a wheel must carry"
    fs = [o for o in (root/'tsfast').rglob('*') if o.suffix in ('.py', '.csv') or o.name == 'py.typed']
    return {o.relative_to(root).as_posix() for o in fs}


def test_sdist_and_wheel_are_complete(dist):
    sdist, = dist.glob('*.tar.gz')
    wheel, = dist.glob('*.whl')
    with tarfile.open(sdist) as f: names = {o.partition('/')[2] for o in f.getnames()}
    assert not content() - names and {'settings.ini', 'setup.py', 'pyproject.toml', 'LICENSE', 'README.md'} <= names
    names = set(zipfile.ZipFile(wheel).namelist())
    assert not content() - names
    assert 'tsfast/py.typed' in names and not [o for o in names if not o.startswith('tsfast')], 'the wheel holds more than the package'
    assert [o for o in names if o.endswith('licenses/LICENSE')]


def test_name_and_extras(dist):
    "The name is not that of another project, and each optional part of settings.ini, and each that a page names, can be installed"
    wheel, = dist.glob('*.whl')
    z = zipfile.ZipFile(wheel)
    facts = email.message_from_string(z.read(next(o for o in z.namelist() if o.endswith('.dist-info/METADATA'))).decode())
    ini = ConfigParser(delimiters=['='], interpolation=None)
    ini.read(root/'settings.ini', encoding='utf-8')
    extras = {o.removesuffix('_requirements') for o in ini['DEFAULT'] if o.endswith('_requirements')}
    assert facts['Name'] == 'tsfast-learn' and set(facts.get_all('Provides-Extra')) == extras
    pages = [*(root/'nbs').rglob('*.ipynb'), root/'README.md', root/'CONTRIBUTING.md']
    named = {o for p in pages for o in re.findall(r'pip install[^\n]*?tsfast(?:-learn)?\[([\w,]+)\]', p.read_text(encoding='utf-8'))}
    assert named and {o for names in named for o in names.split(',')} <= extras


def test_no_page_installs_the_other_project():
    "On the package index, the name tsfast belongs to another project"
    pages = [o for d in ('nbs', 'tsfast', 'docs', '.github') for o in (root/d).rglob('*') if o.suffix in ('.ipynb', '.py', '.md', '.yml')]
    bad = [f'{p.relative_to(root)}: {o}' for p in [*pages, root/'README.md', root/'CONTRIBUTING.md']
           for o in re.findall(r'''pip install[^\n]{0,40}?[ '"]tsfast(?:\[|[ '"\\`,]|$)[^\n]{0,20}''', p.read_text(encoding='utf-8'), re.M)]
    assert not bad, bad


def test_wheel_installs_and_imports(dist, tmp_path):
    "An empty environment that sees this one's libraries, but not the editable install, so that no network is needed"
    wheel, = dist.glob('*.whl')
    run(sys.executable, '-m', 'venv', '--without-pip', tmp_path/'env', cwd=tmp_path)
    bin = tmp_path/'env'/('Scripts' if os.name == 'nt' else 'bin')
    purelib = Path(run(bin/'python', '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))', cwd=tmp_path).strip())
    (purelib/'libraries.pth').write_text('\n'.join(site.getsitepackages()))
    run(sys.executable, '-m', 'pip', '--python', bin/'python', 'install', '--quiet', '--no-deps', '--no-index', wheel, cwd=tmp_path)
    out = run(bin/'python', '-c', 'import tsfast, tsfast.models.all; print(tsfast.__file__)', cwd=tmp_path)
    assert Path(out.strip()).is_relative_to(tmp_path), f'imported from {out}'
    assert not [o for o in content() if not (purelib/o).exists()]
    run(bin/'python', '-c', 'from tsfast.all import *; ts_learner, get_ts_dls, InceptionTime', cwd=tmp_path)
    assert 'train' in run(bin/'tsfast', '--help', cwd=tmp_path)
