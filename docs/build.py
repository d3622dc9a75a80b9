#!/usr/bin/env python
"""Builds the site into `_docs/`, offline: runs the notebooks in a copy, turns each into a page, and lets Sphinx put them together.

    python docs/build.py             # what has changed since the last build
    python docs/build.py --fresh     # everything
    python docs/build.py --reuse     # keep the outputs of notebooks whose own text is unchanged, though the package may have changed

A warning is an error, and so is a link that leads nowhere. `docs/toc.yml` says which page stands where. Each notebook runs with one thread, so that the pages
show the same figures whatever the number of cores; OMP_NUM_THREADS asks for more."""
import argparse, hashlib, importlib.metadata, shutil, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

root = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(root), str(root/'docs')]
from tsfast.threads import default_threads, set_thread_defaults
work, out = root/'_proc', root/'_docs'


def key_of(nb, package):
    "What the outputs of a notebook depend on: its cells, the package they call, and measurements if it shows them"
    parts = [package, *(c.cell_type + c.source for c in nb.cells)]
    if any('benchmarks/results' in o for o in parts): parts += [hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted((root/'benchmarks').glob('results/*'))]
    return hashlib.sha256('\0'.join(parts).encode()).hexdigest()[:20]


def package_key():
    "A digest of the package and the libraries below"
    h = hashlib.sha256()
    for f in sorted((root/'tsfast').rglob('*.py')): h.update(f.read_bytes())
    for o in ('torch', 'fastai', 'numpy', 'matplotlib', 'pandas', 'sktime'): h.update(importlib.metadata.version(o).encode())
    return h.hexdigest()


def executed(pages, jobs, fresh=False, reuse=False):
    "The notebooks of `pages` with their outputs, from the cache where it holds, {docname: notebook}; and what failed"
    from fastcore.nbio import read_nb
    cache, run = work/'cache', work/'run'
    if fresh: shutil.rmtree(cache, ignore_errors=True)
    shutil.rmtree(run, ignore_errors=True); cache.mkdir(parents=True, exist_ok=True)
    if (root/'benchmarks').is_dir(): shutil.copytree(root/'benchmarks', run/'benchmarks', ignore=shutil.ignore_patterns('.*', '__pycache__'))
    package = '' if reuse else package_key()
    stored, todo = {}, []
    for p in pages:
        stem = p.docname.replace('/', '.')
        hits = list(cache.glob(f'{stem}@{key_of(read_nb(p.path), "")}-*' if reuse else f'{stem}@*-{key_of(read_nb(p.path), package)}.ipynb'))
        if hits: stored[p.docname] = max(hits, key=lambda o: o.stat().st_mtime); continue
        copy = run/'nbs'/p.path.relative_to(root/'nbs'); copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(p.path, copy); todo.append((p, copy))
    package = package_key()
    print(f'{len(stored)} notebooks from the cache, {len(todo)} to run', flush=True)
    from run_notebook import run_notebook
    failed = []
    if todo:
        todo.sort(key=lambda o: 'tutorials' not in o[1].parts)     # the longest first
        with ProcessPoolExecutor(jobs, mp_context=get_context('spawn')) as pool:
            for (p, copy), (_, ok, secs) in zip(todo, pool.map(run_notebook, [c for _, c in todo])):
                print(f'  {p.docname}: {"ok" if ok else "FAILED"}, {secs:.1f} s', flush=True)
                if not ok: failed.append(p.docname); stored[p.docname] = p.path; continue   # the page is made without outputs
                stem, nb = p.docname.replace('/', '.'), read_nb(p.path)
                for o in cache.glob(f'{stem}@*'): o.unlink()
                stored[p.docname] = cache/f'{stem}@{key_of(nb, "")}-{key_of(nb, package)}.ipynb'
                shutil.copy2(copy, stored[p.docname])
    return {k: read_nb(v) for k, v in stored.items()}, failed


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--fresh', action='store_true', help='run every notebook')
    a.add_argument('--reuse', action='store_true', help='keep outputs of unchanged notebooks, though the package may have changed')
    a.add_argument('--jobs', type=int, default=default_threads(), help='notebooks to run at a time; default: as many as there are cores to use, and at most 4')
    a = a.parse_args()
    set_thread_defaults(1)
    from check_links import check
    from pages import find_pages, write_site
    from sphinx.cmd.build import build_main
    start = time.time()
    pages = find_pages()
    nbs, failed = executed(pages, a.jobs, a.fresh, a.reuse)
    site = work/'site'
    write_site(pages, nbs, site)
    print(f'{len(pages)} pages prepared after {time.time()-start:.0f} s', flush=True)
    shutil.rmtree(work/'html', ignore_errors=True)
    if (rc := build_main(['-W', '--keep-going', '-q', '-E', '-b', 'html', '-c', str(root/'docs'), '-d', str(work/'doctrees'), str(site), str(work/'html')])): sys.exit(rc)
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(work/'html', out)
    shutil.copy2(site/'llms.txt', out/'llms.txt')
    (out/'.nojekyll').touch()
    bad = check(out, root)
    if bad: sys.exit('\n'.join(['Links that lead nowhere:', *bad]))
    size = sum(f.stat().st_size for f in out.rglob('*') if f.is_file())
    print(f'{out.relative_to(root)}/index.html: {len(pages)} pages, {size/2**20:.1f} MB, {time.time()-start:.0f} s')
    if failed: sys.exit(f'These notebooks failed, their tracebacks are above: {", ".join(failed)}')


if __name__ == '__main__': main()
