#!/usr/bin/env python
"""Builds the site into `_docs/`, offline: runs copies of the notebooks, turns each into a page, and runs Sphinx on them.

    python docs/build.py             # what has changed since the last build
    python docs/build.py --fresh     # everything
    python docs/build.py --reuse     # keep the outputs of notebooks whose own text is unchanged, though the package may have changed
    python docs/build.py --only learner 'data/*'     # run these pages alone, and show them in `_proc/html/`; the others lack outputs

Warnings and broken links are errors. `docs/toc.yml` lists the pages in order. Each notebook runs with one thread, so that the pages
show the same figures for any number of cores; set OMP_NUM_THREADS for more."""
import argparse, hashlib, importlib, importlib.metadata, shutil, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

root = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(root), str(root/'docs')]
from tsfast.threads import default_threads, set_thread_defaults
work, out = root/'_proc', root/'_docs'
cache, run, site, html = (work/o for o in ('cache', 'run', 'site', 'html'))


# --- outputs of the notebooks, from the cache or by running them
def key_of(nb, package):
    "What the outputs of a notebook depend on: its cells, the package they call, and measurements if it shows them"
    parts = [package, *(c.cell_type + c.source for c in nb.cells)]
    if any('benchmarks/results' in o for o in parts):
        parts += [hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted((root/'benchmarks').glob('results/*'))]
    return hashlib.sha256('\0'.join(parts).encode()).hexdigest()[:20]


def package_key():
    "A digest of the package and the libraries below"
    h = hashlib.sha256()
    for f in sorted((root/'tsfast').rglob('*.py')): h.update(f.read_bytes())
    for o in ('torch', 'fastai', 'numpy', 'matplotlib', 'pandas', 'sktime'): h.update(importlib.metadata.version(o).encode())
    return h.hexdigest()


def stem(page): return page.docname.replace('/', '.')


def stored(page, package, reuse):
    "The cached notebook of `page`, or None"
    from fastcore.nbio import read_nb
    nb = read_nb(page.path)
    pattern = f'{key_of(nb, "")}-*' if reuse else f'*-{key_of(nb, package)}.ipynb'
    return max(cache.glob(f'{stem(page)}@{pattern}'), key=lambda o: o.stat().st_mtime, default=None)


def store(page, ran, package):
    "Keep the notebook `ran` in the cache, in place of an earlier one of `page`"
    from fastcore.nbio import read_nb
    for o in cache.glob(f'{stem(page)}@*'): o.unlink()
    nb = read_nb(page.path)
    return shutil.copy2(ran, cache/f'{stem(page)}@{key_of(nb, "")}-{key_of(nb, package)}.ipynb')


def run_copies(pages, jobs):
    "Run copies of the notebooks: (page, copy, whether it succeeded)"
    from run_notebook import run_notebook
    if not pages: return
    pages = sorted(pages, key=lambda p: not {'tutorials', 'guides'} & {*p.path.parts})     # the longest first
    copies = [run/'nbs'/p.path.relative_to(root/'nbs') for p in pages]
    for p, copy in zip(pages, copies):
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(p.path, copy)
    # a process for each notebook: what one patches into classes of fastai must not reach the next; and it may have processes of its own
    with ProcessPoolExecutor(jobs, get_context('spawn'), max_tasks_per_child=1) as pool:
        for p, copy, (_, ok, secs) in zip(pages, copies, pool.map(run_notebook, copies)):
            print(f'  {p.docname}: {"ok" if ok else "FAILED"}, {secs:.1f} s', flush=True)
            yield p, copy, ok


def executed(pages, jobs, fresh=False, reuse=False, only=()):
    "The notebooks with their outputs, from the cache if possible: {docname: notebook}, and the names of those that failed"
    from fastcore.nbio import read_nb
    from pages import matches
    if fresh: shutil.rmtree(cache, ignore_errors=True)
    shutil.rmtree(run, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    skip = shutil.ignore_patterns('.*', '__pycache__')
    if (root/'benchmarks').is_dir(): shutil.copytree(root/'benchmarks', run/'benchmarks', ignore=skip)
    package = package_key()
    files = {p.docname: stored(p, '' if reuse else package, reuse) for p in pages}
    wanted = [p for p in pages if not only or any(matches(p.docname, o) for o in only)]
    todo = [p for p in wanted if files[p.docname] is None]
    if not wanted: sys.exit(f'No page is named {" or ".join(only)}. There are: {", ".join(p.docname for p in pages)}')
    print(f'{len(wanted)-len(todo)} notebooks from the cache, {len(todo)} to run', flush=True)
    failed = []
    for p, copy, ok in run_copies(todo, jobs):
        if ok: files[p.docname] = store(p, copy, package)
        else: failed.append(p.docname)
    return {p.docname: read_nb(files[p.docname] or p.path) for p in pages}, failed     # those that failed are shown without outputs


# --- the site
def find_symbols(page, nb):
    "The public names that a page explains, each with its label"
    from entries import defined, resolve
    from text import directives
    mod = importlib.import_module(page.module)
    for c in nb.cells:
        if c.cell_type != 'code' or not directives(c.source).keys() & {'export', 'exports'}: continue
        for n in defined(c.source):
            try: resolve(n, mod)
            except AttributeError: continue
            label = f'{page.module}.{n}'
            # Sphinx takes Conv1d and conv1d for the same label
            page.symbols[n] = label + '-2'*any(o.lower() == label.lower() for o in page.symbols.values())


def write_site(pages, nbs):
    "Write all files that Sphinx reads into `site`"
    from fastcore.nbio import mk_cell, write_nb
    from cells import convert, linker
    from pages import front_cards, llms, read_toc, section_page
    shutil.rmtree(site, ignore_errors=True)
    for p in pages:
        if p.module: find_symbols(p, nbs[p.docname])
    link, by_path = linker(pages), {p.path.resolve(): p.docname for p in pages}
    kernel = {'display_name': 'python3', 'language': 'python', 'name': 'python3'}
    for p in pages:
        nb = nbs[p.docname]
        nb['cells'] = convert(nb, p, link, by_path)
        if p.docname == 'index': nb['cells'].append(mk_cell(front_cards(pages), 'markdown'))
        nb['metadata'] = {'kernelspec': kernel, 'language_info': {'name': 'python'}}
        f = site/f'{p.docname}.ipynb'
        f.parent.mkdir(parents=True, exist_ok=True)
        write_nb(nb, f)
    for k, s in read_toc().items():
        (site/k).mkdir(exist_ok=True)
        (site/k/'index.md').write_text(section_page(k, s, pages))
    (site/'llms.txt').write_text(llms(pages))


def sphinx():
    "Run Sphinx from `site` into `html`; a warning is an error"
    from sphinx.cmd.build import build_main
    shutil.rmtree(html, ignore_errors=True)
    flags = ['-W', '--keep-going', '-q', '-E', '-b', 'html', '-c', str(root/'docs'), '-d', str(work/'doctrees')]
    rc = build_main([*flags, str(site), str(html)])
    if rc: sys.exit(rc)
    shutil.copy2(site/'llms.txt', html/'llms.txt')
    (html/'.nojekyll').touch()


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--fresh', action='store_true', help='run every notebook')
    a.add_argument('--reuse', action='store_true', help='keep outputs of unchanged notebooks, though the package may have changed')
    a.add_argument('--only', nargs='+', default=(), metavar='PAGE', help='run these pages alone, by address: learner, "data/*"')
    a.add_argument('--jobs', type=int, default=default_threads(), help='notebooks to run at a time; default: one per free core, at most 4')
    a = a.parse_args()
    set_thread_defaults(1)
    from check_links import check
    from pages import find_pages
    start = time.time()
    pages = find_pages()
    nbs, failed = executed(pages, a.jobs, a.fresh, a.reuse, a.only)
    write_site(pages, nbs)
    print(f'{len(pages)} pages prepared after {time.time()-start:.0f} s', flush=True)
    sphinx()
    if (bad := check(html, root)): sys.exit('\n'.join(['Broken links:', *bad]))
    to = html
    if not a.only:
        to = out
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(html, out)
    size = sum(f.stat().st_size for f in to.rglob('*') if f.is_file())
    print(f'{to.relative_to(root)}/index.html: {len(pages)} pages, {size/2**20:.1f} MB, {time.time()-start:.0f} s')
    if failed: sys.exit(f'These notebooks failed, their tracebacks are above: {", ".join(failed)}')


if __name__ == '__main__': main()
