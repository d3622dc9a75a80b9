"The docs: README and its notebook, a page for each module, links in notebooks. The site itself is built by `make docs`"
import re, sys
from pathlib import Path

import pytest
from fastcore.nbio import read_nb
from fastcore.xtras import dict2obj

from tsfast.models.registry import get_arch, list_models

root = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(root/'docs'))
import build, cells, check_links, entries, pages, readme, text

notebooks = sorted(f for f in (root/'nbs').rglob('*.ipynb') if not any(o[0] in '_.' for o in f.relative_to(root/'nbs').parts))


def test_readme_is_its_notebook():
    "Text and code are those of nbs/index.ipynb; `python docs/readme.py` renews README.md"
    nb = read_nb(root/'nbs'/'index.ipynb')
    for c in nb.cells: c['outputs'] = []
    assert readme.without_outputs((root/'README.md').read_text(encoding='utf-8')) == readme.render(nb).strip()


def test_readme_links():
    md = (root/'README.md').read_text(encoding='utf-8')
    for to in re.findall(r'\]\(([^)\s]+)\)', md):
        if not re.match(r'[a-z]+:|#', to): assert (root/to.split('#')[0]).exists(), f'README.md: {to}'
    shown = set(re.findall(r'\(docs/images/([^)]+)\)', md))
    assert shown == {o.name for o in (root/'docs'/'images').iterdir()}
    assert sum(o.stat().st_size for o in (root/'docs'/'images').iterdir()) < 500_000


def test_readme_shows_what_the_code_gives():
    "The outputs in README.md are there: the epochs, and a picture"
    md = (root/'README.md').read_text(encoding='utf-8')
    assert 'train_loss' in md and md.count(readme.start) == md.count(readme.end) >= 2


def test_every_notebook_has_a_page():
    found = pages.find_pages()
    assert {p.path for p in found} == set(notebooks)
    assert len({p.docname for p in found}) == len(found), 'two notebooks have the same address'
    for p in found: assert p.title and p.summary, f'{p.path}: no title or no summary'


def test_every_module_has_a_notebook():
    by_module = {p.module for p in pages.find_pages()}
    for f in (root/'tsfast').rglob('*.py'):
        if f.name in ('__init__.py', '_modidx.py'): continue
        assert '.'.join(f.relative_to(root).with_suffix('').parts) in by_module, f'{f} has no notebook, so it has no page'


@pytest.mark.parametrize('path', notebooks, ids=lambda o: o.relative_to(root/'nbs').as_posix())
def test_links_in_notebooks(path):
    "Links to other notebooks and to files lead somewhere, and nothing is loaded from elsewhere"
    for c in read_nb(path).cells:
        if c.cell_type != 'markdown': continue
        prose = re.sub(r'```.*?```|`[^`\n]*`', '', c.source, flags=re.S)
        for to in re.findall(r'(?<!!)\[[^\]]*\]\(([^)\s]+)\)', prose):
            if not re.match(r'[a-z]+:|#', to): assert (path.parent/to.split('#')[0]).resolve().exists(), to
        assert not re.search(r'!\[[^\]]*\]\(https?:', prose), 'a picture from elsewhere: the site is built, and read, offline'


def test_tutorials_and_guides_start_from_nothing():
    "Each installs tsfast in Colab, and imports what it uses"
    for f in [*(root/'nbs'/'tutorials').glob('*.ipynb'), *(root/'nbs'/'guides').glob('*.ipynb')]:
        code = [c.source for c in read_nb(f).cells if c.cell_type == 'code']
        assert 'pip install' in code[0] and 'eval' in text.directives(code[0]) and 'hide' in text.directives(code[0]), f
        assert any('from tsfast.all import *' in c for c in code[:3]), f


def test_progress_bars_are_taken_out():
    bars = 'Epoch 1/2 : |---| 0.00% [0/4]\rEpoch 1/2 : |███| 100% [4/4]\rEpoch 1/2 :    \r'
    raw = f'█\repoch     loss\n█\r\r{bars}0         0.5 \nkept\n'
    assert text.without_bars(raw) == 'epoch     loss\n0         0.5\nkept\n'
    assert text.without_bars("[0, 0.25, 'x', None, '00:01']").split() == ['0', '0.250000', "'x'", 'None', '00:01']


def test_broken_links_are_found(tmp_path):
    ours = f'{pages.repo}/blob/main'
    links = ('there.html#x', 'there.html#y', 'gone.html', f'{ours}/README.md', f'{ours}/nothing.md', 'https://docs.fast.ai')
    html = ''.join(f'<a href="{o}"></a>' for o in links) + '<img src="no.png"><script src="https://cdn.example/x.js"></script>'
    (tmp_path/'index.html').write_text(html)
    (tmp_path/'there.html').write_text('<p id="x">')
    bad, broken = check_links.check(tmp_path, root), ('there.html#y', 'gone.html', 'no.png', 'cdn.example', 'nothing.md')
    assert len(bad) == 5 and all(any(o in b for b in bad) for o in broken), bad


@pytest.mark.parametrize('arch', list_models())
def test_page_of_a_model(arch):
    "What it does, the equation, the source, when to choose it; and its structure and size, run"
    by_module = {p.module: p.path for p in pages.find_pages()}
    cells = read_nb(by_module[get_arch(arch).__module__]).cells
    prose = '\n'.join(c.source for c in cells if c.cell_type == 'markdown')
    assert '$$' in prose and re.search(r'\bChoose (it|one)\b', prose) and re.search(r'\(\d{4}\)', prose)
    shown = [c.source for c in cells if c.cell_type == 'code' and not c.source.startswith('#|')]
    assert any('count_parameters(m):,' in o and o.rstrip().endswith('\nm') for o in shown)


def test_pictures_that_code_displays_reach_the_page():
    "A report written by code may hold pictures: their cells are not empty, for such cells are left out by the builder"
    path = root/'nbs'/'explanations'/'03_speed.ipynb'
    page = next(p for p in pages.find_pages() if p.path == path)
    nb = read_nb(path)
    cell = next(c for c in nb.cells if '#| output: asis' in c.source)
    cell['outputs'] = [dict2obj(dict(output_type='display_data', metadata={}, data={'image/svg+xml': '<svg/>', 'text/plain': '<SVG>'}))]
    made = [c for c in cells.convert(nb, page, lambda md, _: md, {}) if c.cell_type == 'code' and c.outputs]
    assert made and all(c.source.strip() for c in made)


# --- what a page shows
def page_of(module):
    "A page with its symbols, and its cells as the site has them, without outputs"
    page = next(p for p in pages.find_pages() if p.module == module)
    nb = read_nb(page.path)
    for c in nb.cells: c['outputs'] = []
    build.find_symbols(page, nb)
    by_path = {f.resolve(): 'other' for f in notebooks}
    return page, cells.convert(nb, page, lambda md, _: md, by_path)


def test_public_names_are_open_and_their_code_is_folded():
    page, made = page_of('tsfast.data.splits')
    md = '\n'.join(c.source for c in made if c.cell_type == 'markdown')
    assert '### get_splits\n' in md and '\n| `valid_size` | `float \\| int` | `0.2` |' in md
    opened = re.sub(r'^::::.*?^::::$', '', md, flags=re.S | re.M)
    assert 'def get_splits' in md and not re.search(r'^(def|class|@\w+) ', opened, re.M)
    heads = re.findall(r'^### (\S+)$', md, re.M)
    assert heads == list(page.symbols) and not any(o.split('.')[-1].startswith('_') for o in heads)


EXPORTED = """#| export
import math
from torch import nn
__all__ = []
LIMIT = 3
def _half(x): return x/2
@patch
def shown(self:nn.Module): return _half(1)
def hidden(): pass
"""

def test_helpers_of_a_cell_follow_its_public_names():
    names, code = zip(*entries.definitions(text.without_directives(EXPORTED)))
    assert names == ('LIMIT', '_half', 'nn.Module.shown', 'hidden') and code[2].startswith('@patch\ndef shown')
    assert entries.defined(EXPORTED) == ['nn.Module.shown', 'hidden']
    mod = type('module', (), dict(LIMIT=3, hidden=lambda: None))
    page = pages.Page(root, 'x', 'X', '', 'tsfast.x', symbols={'hidden': 'tsfast.x.hidden'})
    md = entries.exported(EXPORTED, mod, page)
    assert md.index('### hidden') < md.index('Helpers: `LIMIT`, `_half`, `nn.Module.shown`') < md.index('def _half')
    assert 'import math' not in md
    assert entries.exported('#| export\nimport math', mod, page) == ''


def test_tests_are_folded_and_examples_are_not():
    many = '\n'.join(f'test_eq({i}, {i})' for i in range(5))
    assert cells.is_test('# tests\nx = 1\ntest_eq(x, 1)') and cells.is_test(many)
    assert not cells.is_test('test_eq(1, 1)') and not cells.is_test(f'x = f()\n{many}')


def test_title_and_summary_of_a_notebook():
    from fastcore.nbio import mk_cell
    of = lambda src: pages.title_and_summary('x.ipynb', mk_cell(src, 'markdown'))
    assert of('# A title\n\n> What it\nis about\n\nMore.') == ('A title', 'What it is about')
    assert of('# A title\n\nFirst sentence. Second.\n\nMore.') == ('A title', 'First sentence.') and of('# A title') == ('A title', '')
    with pytest.raises(ValueError, match='x.ipynb: the first cell must be'): of('## A section')


def test_a_package_has_the_page_of_its_name():
    from fastcore.nbio import mk_cell, new_nb
    assert pages.module_of(new_nb([mk_cell('#| default_exp interpret.__init__')])) == 'tsfast.interpret'
    assert pages.Page(root, 'models', 'X', '', 'tsfast.models').module_file == 'tsfast/models/__init__.py'
    assert pages.matches('data/core', 'data/*') and not pages.matches('models/kernels/rocket_cpu', 'models/*')


def test_entry_of_a_name_from_another_page():
    "`show_doc(name)` shows it with its parameters, and without a second label"
    page, made = page_of('tsfast.learner')
    md = '\n'.join(c.source for c in made if c.cell_type == 'markdown')
    assert '### ts_learner\n' in md and '| `arch` |' in md and '.ts_learner)=' not in md and not any('show_doc' in c.source for c in made)


def test_methods_of_a_learner_are_linked():
    "To the pages that patch them, and never to a function of the same name"
    page = lambda name, **symbols: pages.Page(root, name, name, '', None, symbols={k.replace('__', '.'): k for k in symbols})
    link = cells.linker([page('cli', export=1), page('predict', Learner__get_X_preds=1, TSLearner__lr_find=1)])
    assert link('`learn.get_X_preds()`', 'x') == '[`learn.get_X_preds()`](#Learner__get_X_preds)'
    assert link('`learn.lr_find`', 'x') == '[`learn.lr_find`](#TSLearner__lr_find)'
    assert link('`learn.export`', 'x') == '`learn.export`' and link('`learn.get_X_preds`', 'predict') == '`learn.get_X_preds`'
