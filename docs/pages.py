"The pages of the site, their order, and the index pages that list them"
import fnmatch, re
from dataclasses import dataclass, field
from pathlib import Path
import yaml
from fastcore.nbio import read_nb
from text import directives

root = Path(__file__).resolve().parents[1]
repo = 'https://github.com/tsfast/tsfast'
colab = 'https://colab.research.google.com/github/tsfast/tsfast/blob/main'


@dataclass
class Page:
    path: Path                  # the notebook
    docname: str                # its address in the site: models/inception_time
    title: str
    summary: str                # the line after `>`, else the first sentence
    module: str | None          # tsfast.models.inception_time
    section: str = ''           # reference
    group: str = ''             # Models: CNNs
    symbols: dict = field(default_factory=dict)     # name -> label

    @property
    def module_file(self):
        "The module's path in the repository; a package is its `__init__.py`"
        base = self.module.replace('.', '/')
        return f'{base}/__init__.py' if (root/base).is_dir() else f'{base}.py'


def docname(path):
    "nbs/models/03_inception_time.ipynb -> models/inception_time"
    rel = path.relative_to(root/'nbs').with_suffix('')
    return rel.with_name(re.sub(r'^\d+[a-z]?_', '', rel.name)).as_posix()


def module_of(nb):
    "The module that a notebook exports: tsfast.models.inception_time; a package's `__init__` is named as the package"
    names = (directives(c.source).get('default_exp') for c in nb.cells if c.cell_type == 'code')
    name = next((f'tsfast.{o.strip()}' for o in names if o), None)
    return name and name.removesuffix('.__init__')


def title_and_summary(path, cell):
    "The heading of the first cell, and the line after `>` or the first sentence below it"
    m = cell.cell_type == 'markdown' and re.match(r'#\s+([^\n]+?)\s*(?:\n(.*))?\Z', cell.source, re.S)
    if not m: raise ValueError(f'{path}: the first cell must be "# Title", followed by a line that says what the page is about')
    first = (m[2] or '').strip().split('\n\n')[0]
    text = ' '.join(first.removeprefix('>').split())
    return m[1], text if first.startswith('>') else re.split(r'(?<=[.!?])\s', text)[0]


def read_toc(): return yaml.safe_load((root/'docs'/'toc.yml').read_text())


def find_pages():
    "All notebooks below nbs/, in the order of docs/toc.yml"
    pages = []
    for f in sorted((root/'nbs').rglob('*.ipynb')):
        if any(o[0] in '_.' for o in f.relative_to(root/'nbs').parts): continue
        nb = read_nb(f)
        module = module_of(nb)
        name = module.removeprefix('tsfast.').replace('.', '/') if module else docname(f)
        pages.append(Page(f, name, *title_and_summary(f, nb.cells[0]), module))
    left, placed = {p.docname: p for p in pages if p.docname != 'index'}, []
    for section, s in read_toc().items():
        for g in s['groups']:
            for pat in g['pages']:
                for name in [k for k in left if matches(k, pat)]:
                    p = left.pop(name)
                    p.section, p.group = section, g['title']
                    placed.append(p)
    if left: raise ValueError(f'docs/toc.yml has no place for {", ".join(left)}')
    return [p for p in pages if p.docname == 'index'] + placed


def matches(name, pattern):
    "`*` as in a shell: it does not cross a folder"
    return fnmatch.fnmatchcase(name, pattern) and name.count('/') == pattern.count('/')


# --- index pages
def cards(pages, columns='1 2 2 3'):
    lines = [f'::::{{grid}} {columns}', ':gutter: 3', '']
    for p in pages:
        summary = p.summary if p.summary.endswith(('.', '?', '!')) or not p.summary else f'{p.summary}.'
        lines += [f':::{{grid-item-card}} {p.title}', f':link: /{p.docname}', ':link-type: doc', '', summary, ':::', '']
    return '\n'.join([*lines, '::::', ''])


def grouped(key, section, pages):
    "The groups of a section that have pages: (title, pages)"
    for g in section['groups']:
        ps = [p for p in pages if p.section == key and p.group == g['title']]
        if ps: yield g['title'], ps


def section_page(key, section, pages):
    lines = [f'# {section["title"]}', '', section['intro'], '']
    for title, ps in grouped(key, section, pages):
        if len(section['groups']) > 1: lines += [f'## {title}', '']
        toctree = ['```{toctree}', ':hidden:', f':caption: {title}', '', *(f'/{p.docname}' for p in ps), '```']
        lines += [cards(ps), *toctree, '']
    return '\n'.join(lines)


def front_cards(pages):
    "The cards at the end of the front page"
    toc = read_toc()
    first = [p for p in pages if p.section == 'tutorials'][:3]
    lines = [cards(first)] if first else []
    lines += ['::::{grid} 1 2 2 3', ':gutter: 3', '']
    for k, s in toc.items():
        lines += [f':::{{grid-item-card}} {s["title"]}', f':link: /{k}/index', ':link-type: doc', '', s['intro'], ':::', '']
    return '\n'.join([*lines, '::::', '', '```{toctree}', ':hidden:', '', *(f'{k}/index' for k in toc), '```', ''])


def llms(pages):
    "An overview for language models, https://llmstxt.org"
    index = next((p for p in pages if p.docname == 'index'), None)
    lines = ['# tsfast', '', f'> {index.summary if index else "Time series deep learning on fastai"}', '']
    for k, s in read_toc().items():
        for title, ps in grouped(k, s, pages):
            lines += [f'## {title}', '', *(f'- [{p.title}]({p.docname}.html): {p.summary}' for p in ps), '']
    return '\n'.join(lines)
