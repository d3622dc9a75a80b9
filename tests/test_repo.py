"The house rules: one version, imports that flow one way, light imports, docstrings, no paths of one machine"
import ast, re, subprocess, sys
from configparser import ConfigParser
from functools import lru_cache
from pathlib import Path

import pytest

root = Path(__file__).resolve().parents[1]
package = root/'tsfast'
modules = sorted(o for o in package.rglob('*.py') if o.name not in ('__init__.py', '_modidx.py'))
doors = {'tsfast.all', 'tsfast.basics', 'tsfast.imports', 'tsfast.data.all', 'tsfast.models.all'}

# Room -> floor. `models` stands below `data`, so that a batch transform can wrap the plain-torch module that a deployed model carries.
floors = {'core': 0, 'threads': 0, 'models': 1, 'data': 1.5, 'learner': 2, 'callbacks': 2, 'losses': 2, 'metrics': 2, 'checkpoint': 2, 'recipe': 2,
          'bundle': 3, 'inference': 3, 'deploy': 3, 'interpret': 3, 'estimators': 3, 'sktime_estimators': 3, 'cli': 4, '__main__': 4}


def name_of(path):
    "`tsfast/data/core.py` -> `tsfast.data.core`, a package's `__init__.py` -> the package"
    return '.'.join(path.relative_to(root).with_suffix('').parts).removesuffix('.__init__')

def room(module): return (module.split('.') + ['core'])[1]  # `tsfast` itself, which holds the version, counts as the ground floor

@lru_cache
def tree(path): return ast.parse(path.read_text(encoding='utf-8'))

def imports(path):
    "`(module, names, line)` of every import of the own package in a file, those inside functions too, in absolute form"
    for o in ast.walk(tree(path)):
        if isinstance(o, ast.Import): yield from ((a.name, [], o.lineno) for a in o.names if a.name.split('.')[0] == 'tsfast')
        elif isinstance(o, ast.ImportFrom):
            base = name_of(path).split('.')[:-o.level] if o.level else []
            mod = '.'.join(base + ([o.module] if o.module else []))
            if mod.split('.')[0] != 'tsfast': continue
            names = [a.name for a in o.names]
            subs = [n for n in names if (root/(mod.replace('.', '/'))/f'{n}.py').exists()]  # `from tsfast.models import layers`
            yield from ((f'{mod}.{n}', [], o.lineno) for n in subs)
            if len(subs) < len(names): yield mod, [n for n in names if n not in subs], o.lineno


def test_version():
    import tsfast
    ini = ConfigParser(delimiters=['='], interpolation=None)
    ini.read(root/'settings.ini', encoding='utf-8')
    assert ini['DEFAULT']['version'] == tsfast.__version__
    assert ini['DEFAULT']['version'] in (root/'CHANGELOG.md').read_text(encoding='utf-8'), 'the change log has no entry for this version'


def test_python_versions():
    "settings.ini, pyproject.toml and the CI matrix name the same Pythons"
    ini = ConfigParser(delimiters=['='], interpolation=None)
    ini.read(root/'settings.ini', encoding='utf-8')
    pythons = ini['DEFAULT']['pythons'].split()
    assert pythons[0] == ini['DEFAULT']['min_python']
    assert f'requires-python = ">={pythons[0]}"' in (root/'pyproject.toml').read_text(encoding='utf-8')
    ci = root/'.github/workflows/test.yml'
    if ci.exists(): assert f"python: [{', '.join(repr(o) for o in pythons)}]" in ci.read_text(encoding='utf-8')


@pytest.mark.parametrize('path', modules, ids=name_of)
def test_floors(path):
    "A file imports from the floors below or from its own, by name; only doors use a star, and nothing goes through a door"
    me, door, bad = name_of(path), name_of(path) in doors, []
    assert door or room(me) in floors, f'{me} has no floor: add its room to `floors` in {Path(__file__).name}'
    for mod, names, line in imports(path):
        where = f'{path.relative_to(root)}:{line} imports {mod}'
        if mod in doors and not door: bad.append(f'{where}, a door: import from the module that defines the name')
        if '*' in names and not door: bad.append(f'{where} through a star: name what is needed')
        if not door and mod not in doors and floors.get(room(mod), 99) > floors[room(me)]:
            bad.append(f'{where}, from floor {floors.get(room(mod))} to floor {floors[room(me)]}')
    assert not bad, '\n'.join(bad)


def test_no_circles():
    graph = {name_of(p): {m for m, _, _ in imports(p)} & {name_of(o) for o in modules} for p in modules}
    done, trail = set(), []
    def visit(m):
        if m in trail: pytest.fail('circular imports: ' + ' -> '.join([*trail[trail.index(m):], m]))
        if m in done: return
        trail.append(m)
        for o in sorted(graph[m]): visit(o)
        done.add(trail.pop())
    for m in sorted(graph): visit(m)


def loaded(code):
    "The top-level packages a fresh process has loaded after `code`"
    code += '\nimport sys; print("\\n".join(sorted({o.split(".")[0] for o in sys.modules})))'
    r = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True)
    assert not r.returncode, r.stderr
    return set(r.stdout.split())


def test_import_costs_nothing():
    "`import tsfast` brings the version, and no library"
    assert not loaded('import tsfast; tsfast.__version__') & {'torch', 'numpy', 'fastai', 'fastcore', 'pandas', 'sktime', 'numba'}


def test_deployment_imports_torch_and_numpy_only():
    "What a deployed model needs (core.py, bundle.py, inference.py and all of models/) loads without fastai and whatever else training takes"
    # kernels are loaded by the first call that needs them: that they need numba or triton is their point
    own = [name_of(o) for o in modules if room(name_of(o)) in ('core', 'models', 'bundle', 'inference') and not name_of(o).startswith('tsfast.models.kernels.')]
    assert {'tsfast.models.registry', 'tsfast.inference'} <= set(own)
    code = '\n'.join(f'import {o}' for o in own) + '\nfrom tsfast.models.registry import list_models\nassert list_models()'
    heavy = {'fastai', 'fastcore', 'fasttransform', 'pandas', 'sktime', 'sklearn', 'scipy', 'numba', 'matplotlib', 'triton', 'IPython', 'nbdev'}
    extra = loaded(code) & heavy - loaded('import torch, numpy')
    assert not extra, f'importing core.py, bundle.py, inference.py and models/ loads {sorted(extra)}'


@pytest.mark.parametrize('path', [o for o in modules if name_of(o) not in doors], ids=name_of)
def test_docstrings(path):
    "Every public definition says what it is, and every module has its one-line summary"
    bad = [] if ast.get_docstring(tree(path)) else ['the module: its notebook needs a `> summary` under the title']
    for o in tree(path).body:
        if isinstance(o, (ast.FunctionDef, ast.ClassDef)) and not o.name.startswith('_') and not ast.get_docstring(o): bad.append(f'{o.name}, line {o.lineno}')
    assert not bad, f'{path.relative_to(root)} lacks docstrings: ' + '; '.join(bad)


def texts():
    "Every text file of the repository that a reader may meet"
    for o in sorted(root.iterdir()):
        if o.is_file() and (o.suffix in ('.md', '.py', '.toml', '.ini', '.txt', '.in') or o.name == 'Makefile'): yield o
    for d in ('nbs', 'tsfast', 'tests', 'scripts', 'benchmarks', 'docs', '.ci', '.github'):
        for o in sorted((root/d).rglob('*')):
            skip = any(p in ('__pycache__', '_build', '.ipynb_checkpoints') for p in o.parts)
            if o.is_file() and not skip and o.suffix in ('', '.md', '.py', '.ipynb', '.toml', '.txt', '.csv', '.yml', '.yaml', '.cfg'): yield o


def test_no_machine_paths():
    "No absolute path into somebody's machine, and no relative one that leaves the repository"
    places = 'home|root|work|workspace|tmp|mnt|srv|opt|Users'
    absolute = re.compile(rf'(?<![\w.~:/)}}\]-])/(?:{places})/\w[\w./-]*')
    upward = re.compile(r'(?<![\w./])(?:\.\./)+[\w./-]*\w')
    bad = []
    for f in texts():
        for n, line in enumerate(f.read_text(encoding='utf-8').replace('\\n', '\n').splitlines(), 1):  # a notebook's strings, too
            hits = absolute.findall(line)
            hits += [o for o in upward.findall(line) if not (f.parent/o).resolve().is_relative_to(root)]
            bad += [f'{f.relative_to(root)}:{n}: {o}' for o in hits]
    assert not bad, '\n'.join(bad)
