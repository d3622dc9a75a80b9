#!/usr/bin/env python
"""Checks that the notebooks are clean and that the package is what they export. It exports in a temporary copy and compares this with the
working tree, so it needs no git and changes no files. It prints the differences and how to fix them, and then exits with status 1."""
import difflib, os, shutil, subprocess, sys, tempfile
from pathlib import Path

root = Path(__file__).resolve().parents[1]
by_hand = {'tsfast/__init__.py'}  # the version; nbdev only adds to it


def files(base):
    "Relative path -> bytes of the notebooks and modules under `base`"
    fs = [*(base/'nbs').rglob('*'), *(base/'tsfast').rglob('*.py')]
    keep = lambda o: o.is_file() and (o.suffix in ('.py', '.ipynb') or o.name == 'llms.txt')
    rel = [o.relative_to(base) for o in fs if keep(o)]
    return {o.as_posix(): (base/o).read_bytes() for o in rel if not any(p.startswith('.') or p == '__pycache__' for p in o.parts)}


def nbdev(call, cwd):
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'}  # nbdev exports nothing while that is set
    r = subprocess.run([sys.executable, '-c', call], cwd=cwd, env=env, capture_output=True, text=True)
    if r.returncode: sys.exit(f'{call}\n{r.stdout}{r.stderr}')


def exported(tmp):
    "The `files` that nbdev generates from the notebooks alone, in a copy of the tree without generated modules"
    for o in ('nbs', 'tsfast'):
        if (root/o).exists(): shutil.copytree(root/o, tmp/o, ignore=shutil.ignore_patterns('__pycache__', '.*'))
    for o in ('pyproject.toml', 'settings.ini'): shutil.copy2(root/o, tmp)
    for o in (tmp/'tsfast').rglob('*.py'):
        if o.name != '__init__.py': o.unlink()
    nbdev('from nbdev.doclinks import nbdev_export; nbdev_export()', tmp)
    nbdev('from nbdev.clean import nbdev_clean; nbdev_clean()', tmp)
    return files(tmp)


def main():
    with tempfile.TemporaryDirectory() as tmp: want = exported(Path(tmp).resolve())
    have = files(root)
    changed = [o for o in have if o in want and have[o] != want[o]]
    dirty = [o for o in changed if o.endswith('.ipynb')]
    differ = [o for o in changed if o not in dirty]
    missing = sorted(want.keys() - have.keys())
    stale = sorted(o for o in have.keys() - want.keys() if o not in by_hand)
    for title, fs, mend in (
        ('Notebooks that are not clean', dirty, '`make export` cleans them.'),
        ('Modules that differ from their notebooks', differ,
         '`make export` takes the notebook; `.venv/bin/nbdev-update` copies an edit of the module back into it.'),
        ('Modules that have not been exported', missing, '`make export` writes them.'),
        ('Modules without a notebook', stale, 'Delete them, or give them a notebook with `#| default_exp`.')):
        if not fs: continue
        print(f'{title}:')
        for o in fs: print(f'  {o}')
        if fs is differ:
            a, b = (d[fs[0]].decode().splitlines() for d in (have, want))
            print(*list(difflib.unified_diff(a, b, fs[0], 'exported', lineterm='', n=1))[:20], sep='\n')
        print(f'  {mend}\n')
    bad = dirty + differ + missing + stale
    print(f'{len(bad)} of {len(have)} files out of step' if bad else f'notebooks and package in sync and clean: {len(have)} files')
    return bool(bad)


if __name__ == '__main__': sys.exit(main())
