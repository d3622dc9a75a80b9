"The docs: README and its notebook, a page for each module, links in notebooks. The site itself is built by `make docs`"
import re, sys
from pathlib import Path

import pytest
from fastcore.nbio import read_nb
from fastcore.xtras import dict2obj

from tsfast.models.registry import get_arch, list_models

root = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(root/'docs'))
import check_links, pages, readme, text

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


def test_tutorials_start_from_nothing():
    "Each installs tsfast in Colab, and imports what it uses"
    for f in (root/'nbs'/'tutorials').glob('*.ipynb'):
        code = [c.source for c in read_nb(f).cells if c.cell_type == 'code']
        assert 'pip install' in code[0] and 'eval' in text.directives(code[0]) and 'hide' in text.directives(code[0]), f
        assert any('from tsfast.all import *' in c for c in code[:3]), f


def test_progress_bars_are_taken_out():
    raw = '█\repoch     loss\n█\r\rEpoch 1/2 : |---| 0.00% [0/4]\rEpoch 1/2 : |███| 100% [4/4]\rEpoch 1/2 :    \r0         0.5 \nkept\n'
    assert text.without_bars(raw) == 'epoch     loss\n0         0.5\nkept\n'
    assert text.without_bars("[0, 0.25, 'x', None, '00:01']").split() == ['0', '0.250000', "'x'", 'None', '00:01']


def test_broken_links_are_found(tmp_path):
    (tmp_path/'index.html').write_text('<a href="there.html#x"></a><a href="there.html#y"></a><a href="gone.html"></a><img src="no.png"><script src="https://cdn.example/x.js"></script>'
                                       f'<a href="{pages.repo}/blob/main/README.md"></a><a href="{pages.repo}/blob/main/nothing.md"></a><a href="https://docs.fast.ai"></a>')
    (tmp_path/'there.html').write_text('<p id="x">')
    bad = check_links.check(tmp_path, root)
    assert len(bad) == 5 and all(any(o in b for b in bad) for o in ('there.html#y', 'gone.html', 'no.png', 'cdn.example', 'nothing.md')), bad


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
    made = [c for c in pages.convert(nb, page, [page], lambda md, _: md, {}) if c.cell_type == 'code' and c.outputs]
    assert made and all(c.source.strip() for c in made)
