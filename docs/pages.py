"""From executed notebooks to the pages that Sphinx reads: exported cells become reference entries, hidden ones disappear, names become links."""
import ast, fnmatch, html, importlib, inspect, re, shutil, tempfile
from dataclasses import dataclass, field
from pathlib import Path
import yaml
from fastcore.nbio import mk_cell, read_nb, write_nb
from text import directives, without_bars, without_directives

root = Path(__file__).resolve().parents[1]
repo = 'https://github.com/tsfast/tsfast'
colab = 'https://colab.research.google.com/github/tsfast/tsfast/blob/main'


@dataclass
class Page:
    path: Path                  # the notebook
    docname: str                # its address in the site: models/inception_time
    title: str
    summary: str                # the line after `>`
    module: str | None          # tsfast.models.inception_time
    section: str = ''           # reference
    group: str = ''             # Models: CNNs
    symbols: dict = field(default_factory=dict)     # name -> label


# --- which pages there are, and where they stand
def docname(path):
    "nbs/models/03_inception_time.ipynb -> models/inception_time"
    rel = path.relative_to(root/'nbs').with_suffix('')
    return rel.with_name(re.sub(r'^\d+[a-z]?_', '', rel.name)).as_posix()


def find_pages():
    "All notebooks below nbs/, in the order of docs/toc.yml"
    pages = []
    for f in sorted((root/'nbs').rglob('*.ipynb')):
        if any(o[0] in '_.' for o in f.relative_to(root/'nbs').parts): continue
        nb = read_nb(f)
        m = re.match(r'#\s+(.+?)\s*(?:\n+>\s*(.+?)\s*(?:\n\n|\Z)|\Z|\n)', nb.cells[0].source, re.S)
        if nb.cells[0].cell_type != 'markdown' or not m: raise ValueError(f'{f}: the first cell must be "# Title" and "> one-line summary"')
        exp = [directives(c.source).get('default_exp') for c in nb.cells if c.cell_type == 'code']
        module = next((f"tsfast.{o.strip().removesuffix('.__init__')}" for o in exp if o), None)
        name = module.removeprefix('tsfast.').replace('.', '/') if module else docname(f)
        pages.append(Page(f, name, m[1], ' '.join((m[2] or '').split()), module))
    toc, placed = yaml.safe_load((root/'docs'/'toc.yml').read_text()), []
    left = {p.docname: p for p in pages if p.docname != 'index'}
    for section, s in toc.items():
        for g in s['groups']:
            for pat in g['pages']:
                for name in [k for k in left if fnmatch.fnmatchcase(k, pat) and k.count('/') == pat.count('/')]:
                    p = left.pop(name); p.section, p.group = section, g['title']; placed.append(p)
    if left: raise ValueError(f'docs/toc.yml has no place for {", ".join(left)}')
    return [p for p in pages if p.docname == 'index'] + placed


# --- reference entries
def defined(source):
    "Names of the public functions and classes that a cell defines; what is patched into a class is `Class.name`"
    res = []
    for o in ast.parse(source).body:
        if not isinstance(o, (ast.FunctionDef, ast.ClassDef)) or o.name.startswith('_'): continue
        deco = [getattr(d, 'id', getattr(getattr(d, 'func', None), 'id', '')) for d in o.decorator_list]
        if 'dispatch' in deco: continue
        if 'patch' in deco and o.args.args[0].annotation is not None: res.append(f'{ast.unparse(o.args.args[0].annotation)}.{o.name}')
        else: res.append(o.name)
    return res


def signature(sym, name):
    "The call, on a line or with a line a parameter"
    if inspect.isclass(sym):      # not what a base class outside says of itself
        init = next((vars(o)['__init__'] for o in sym.__mro__ if '__init__' in vars(o)), None)
        if not getattr(init, '__module__', '').startswith('tsfast'): return f'{name}()'
        sym = init
    try: sig = inspect.signature(sym)
    except (TypeError, ValueError): return name
    ps = [p for k, p in sig.parameters.items() if k not in ('self', 'cls')]
    def show(p):
        star = {p.VAR_POSITIONAL: '*', p.VAR_KEYWORD: '**'}.get(p.kind, '')
        d = '' if p.default is p.empty else f'={default(p.default)}'
        return f'{star}{p.name}{d}'
    parts, kwonly = [], False
    for p in ps:
        if p.kind == p.VAR_POSITIONAL: kwonly = True
        if p.kind == p.KEYWORD_ONLY and not kwonly: parts.append('*'); kwonly = True
        parts.append(show(p))
    line = f'{name}({", ".join(parts)})'
    if len(line) <= 88: return line
    lines, cur = [], ''
    for o in parts:
        if cur and len(cur) + len(o) > 82: lines.append(cur); cur = ''
        cur += f'{o}, '
    return f'{name}(\n' + '\n'.join(f'    {o.rstrip()}' for o in [*lines, cur.rstrip(', ')]) + ')'


def default(o):
    if inspect.isclass(o) or inspect.isfunction(o) or inspect.isbuiltin(o): return o.__name__
    r = repr(o)
    return r if len(r) < 40 and ' at 0x' not in r else f'{type(o).__name__}(...)'


def type_name(a):
    if a in (inspect.Parameter.empty, type(None)): return ''
    if isinstance(a, str): return a
    return a.__name__ if inspect.isclass(a) and not getattr(a, '__args__', None) else re.sub(r'\b(?:\w+\.)+(\w+)', r'\1', str(a))


def table(sym):
    "Parameters as a table, from the comments beside them"
    from fastcore.docments import docments
    try: dm = docments(sym, full=True, returns=True)
    except Exception: return ''     # no source, as of a class that inherits its __init__
    rows = [(k, v) for k, v in dm.items() if k not in ('self', 'cls')]
    if not any(v.docment for _, v in rows): return ''
    cell = lambda s: str(s).replace('|', '\\|').replace('\n', ' ')
    # comments are plain text: what looks like markup is not
    prose = lambda s: re.sub(r'(?<![`\w])([*_<$])', r'\\\1', cell(s)) if '`' not in s else cell(s)
    lines = []
    for k, v in rows:
        t, d = type_name(v.anno), v.default
        if k == 'return':
            if not v.docment and not t: continue
            lines.append(('*returns*', f'`{cell(t)}`' if t else '', '', prose(v.docment or ''))); continue
        lines.append((f'`{k}`', f'`{cell(t)}`' if t else '', '' if d is inspect.Parameter.empty else f'`{cell(default(d))}`', prose(v.docment or '')))
    keep = [i for i in range(4) if i in (0, 3) or any(o[i] for o in lines)]     # a column without entries is left out
    row = lambda o: '| ' + ' | '.join(o[i] for i in keep) + ' |'
    return '\n'.join([row(('', 'Type', 'Default', '')), row(['---']*4), *map(row, lines)])


def source_link(sym):
    sym = inspect.unwrap(sym)     # a decorated function is where it was written
    try: f, n = inspect.getsourcefile(sym), inspect.getsourcelines(sym)[1]
    except (TypeError, OSError): return ''
    f = Path(f).resolve()
    return f'[source]({repo}/blob/main/{f.relative_to(root).as_posix()}#L{max(n, 1)}){{.source-link}}' if root/'tsfast' in f.parents else ''


def methods(cls):
    "Public methods that a class defines itself and explains"
    from fastcore.docments import docments
    for k, v in vars(cls).items():
        f = v.__func__ if isinstance(v, (classmethod, staticmethod)) else v
        if k.startswith('_') or not inspect.isfunction(f) or not f.__doc__ or not f.__module__.startswith('tsfast'): continue
        yield k, f


def resolve(name, mod):
    "The object that `name` is in module `mod`"
    first, *rest = name.split('.')
    o = getattr(mod, first)
    for k in rest: o = inspect.getattr_static(o, k) if k in vars(o) else getattr(o, k)
    return o.__func__ if isinstance(o, (classmethod, staticmethod)) else getattr(o, 'fget', o) if isinstance(o, property) else o


def entry(name, mod, page):
    "A reference entry as Markdown"
    sym = resolve(name, mod)
    label = page.symbols[name]
    doc = inspect.cleandoc(sym.__doc__ or '') if not (inspect.isclass(sym) and sym.__doc__ is None) else ''
    doc = re.sub(r'^Examples\n-+\n(.*)', r'```python\n\1\n```', doc, flags=re.S | re.M)     # as sktime wants them
    doc = re.sub(r'(?<![`\w-])--(\w[\w-]*)', r'`--\1`', doc)      # an option, and not a dash
    lines = [f'({label})=', f'### {name}', '', '```{code-block} python', ':class: signature', signature(sym, name), '```', '']
    if (s := source_link(sym)): lines += [s, '']
    if doc: lines += [doc, '']
    if (t := table(sym)): lines += [t, '']
    if inspect.isclass(sym) and (ms := [(k, f) for k, f in methods(sym) if f'{name}.{k}' not in page.symbols]):
        lines += ['::::{dropdown} Methods', ':class-container: methods', '']
        for k, f in ms:
            lines += ['```{code-block} python', ':class: signature', signature(f, k), '```', '', inspect.cleandoc(f.__doc__), '']
            if (t := table(f)): lines += [t, '']
        lines += ['::::', '']
    return '\n'.join(lines)


# --- prose
def outside_code(md, f):
    "Apply `f` to the lines of `md` that are neither code nor headings"
    res, fence = [], None
    for line in md.split('\n'):
        m = re.match(r'\s*(`{3,}|~{3,})', line)
        if m and fence is None: fence = m[1]; res.append(line); continue
        if fence is not None:
            if line.strip().startswith(fence): fence = None
            res.append(line); continue
        res.append(line if re.match(r'#{1,6} |\(.+\)=$| {4}', line) else f(line))
    return '\n'.join(res)


def linker(pages):
    "A function that turns `names` in prose into links: to entries of this site, or to fastai's"
    table = {}
    for p in pages:
        for name, label in p.symbols.items(): table.setdefault(name, set()).add((p.docname, label))
    for p in pages:
        if p.module: table.setdefault(p.module, {(p.docname, None)})
    from nbdev.doclinks import NbdevLookup
    fastai = NbdevLookup(incl_libs=('fastai', 'fastcore')).syms

    def link(md, here):
        def one(m):
            name = m[1].removesuffix('()')
            to = table.get(name) or table.get(name.removeprefix('learn.').removeprefix('learner.') if '.' in name else name)
            if not to and name.startswith('learn.'): to = table.get(f'Learner.{name[6:]}')
            if to and len(to) == 1:
                page, label = next(iter(to))
                if page == here: return m[0]
                return f'[{m[0]}](#{label})' if label else f'[{m[0]}](/{page}.ipynb)'
            known = fastai.get(name)
            if not to and known and isinstance(known, tuple) and re.search(r'[A-Z_]', name) and len(name) > 5 and 'fast.ai' in known[0]: return f'[{m[0]}]({known[0]})'
            return m[0]
        return outside_code(md, lambda l: re.sub(r'(?<![\[`\w])`([A-Za-z_][\w.]*(?:\(\))?)`(?![\]`])', one, l))
    return link


def rewrite_links(md, page, by_path):
    "Links between notebooks, and from notebooks to files of the repository"
    def one(m):
        target, frag = (m[2].split('#', 1) + [''])[:2]
        if re.match(r'[a-z]+:|#|/', m[2]) or not target: return m[0]
        f = (page.path.parent/target).resolve()
        if f in by_path: return f'[{m[1]}](/{by_path[f]}.ipynb{"#"+frag if frag else ""})'
        if root in f.parents and f.exists(): return f'[{m[1]}]({repo}/{"tree" if f.is_dir() else "blob"}/main/{f.relative_to(root).as_posix()})'
        raise ValueError(f'{page.path.relative_to(root)}: the link {m[0]} leads nowhere')
    return outside_code(md, lambda l: re.sub(r'(?<!!)\[([^\]]*)\]\(([^)\s]+)\)', one, l))


# --- cells
def without_places(text):
    "Folders and addresses in memory are those of the machine that built the site"
    text = re.sub(re.escape(tempfile.gettempdir()) + r'/tmp\w+/', '', text)
    return re.sub(r' at 0x[0-9a-f]{6,}', '', text.replace(str(root), '…'))

def tidy_output(o):
    "An output as the site shows it, or None"
    if o.output_type == 'stream':
        o['text'] = without_places(without_bars(''.join(o.text)))
        return None if o.name == 'stderr' or not o['text'].strip() else o
    data = o.get('data')
    if not data: return o
    for k in ('text/plain', 'text/html'):
        if k in data: data[k] = without_places(''.join(data[k]))
    text = data.get('text/html', '')
    if '<progress' in text: return None
    if text and re.fullmatch(r'\s*<style>.*?</style>\s*', text, re.S): return None
    if 'text/html' in data:
        text = re.sub(r'<style>.*?</style>', '', text, flags=re.S)
        data['text/html'] = re.sub(r' border="1"| style="text-align: (?:left|right);"', '', text)
    if not data.get('text/html', 'x').strip(): return None
    if re.match(r'(?:\[?<(?:Axes|Figure|matplotlib)|\[?<matplotlib|Text\(|array\(\[\[?<Axes)', ''.join(data.get('text/plain', ''))) and 'image/png' not in data: return None
    return o


def convert(nb, page, pages, link, by_path):
    "The cells of a page"
    mod = importlib.import_module(page.module) if page.module else None
    cells = []
    for i, c in enumerate(nb.cells):
        if c.cell_type == 'markdown':
            src = c.source
            if i == 0: src = re.sub(r'\A(#[^\n]+)\n+> *([^\n]+)', r'\1\n\n{.lead}\n\2', src)
            src = re.sub(r'^:::\s*\{\.callout-(\w+)[^}]*\}', r':::{\1}', src, flags=re.M)
            cells.append(mk_cell(link(rewrite_links(src, page, by_path), page.docname), 'markdown'))
            if i == 0 and (b := badges(page)): cells.append(mk_cell(b, 'markdown'))
            continue
        d = directives(c.source)
        if 'hide' in d or 'default_exp' in d or 'nbdev_export()' in c.source: continue
        if d.keys() & {'export', 'exports'}:
            for name in defined(c.source):
                if name in page.symbols: cells.append(mk_cell(link(entry(name, mod, page), page.docname), 'markdown'))
            continue
        src = without_directives(c.source)
        outs = [o for o in map(tidy_output, c.outputs or []) if o is not None]
        for o in outs:
            if 'text/markdown' in o.get('data', {}): o['data'] = {'text/markdown': link(rewrite_links(''.join(o['data']['text/markdown']), page, by_path), page.docname)}
        tags = ['remove-input'] if d.get('echo') == 'false' else []
        if d.get('output') == 'false': outs = []
        if d.get('output') == 'asis':      # Markdown that the code wrote is part of the page
            for o in outs:
                if 'text/markdown' in o.get('data', {}): cells.append(mk_cell(o['data']['text/markdown'], 'markdown'))
                else: cells.append(mk_cell('...', 'code')); cells[-1].outputs, cells[-1].metadata['tags'] = [o], ['remove-input']
            continue
        if tags and not outs: continue
        if re.fullmatch(r'(?:(?:from|import) [^\n]+\n?)+', src) and page.section == 'reference' and not outs and 'fastcore.test' in src: continue
        new = mk_cell(src, 'code')
        new.outputs, new.metadata['tags'] = merge_streams(outs), tags
        new['execution_count'] = None
        cells.append(new)
    return cells


def merge_streams(outs):
    "Neighbouring pieces of printed text as one"
    res = []
    for o in outs:
        if res and o.output_type == 'stream' and res[-1].output_type == 'stream': res[-1]['text'] = ''.join(res[-1].text) + ''.join(o.text)
        else: res.append(o)
    return res


def badges(page):
    rel = page.path.relative_to(root).as_posix()
    links = [f'[Notebook]({repo}/blob/main/{rel})']
    if page.section == 'tutorials': links.insert(0, f'[Open in Colab]({colab}/{rel}){{.badge-link}}')
    if page.module: links.append(f'[Module]({repo}/blob/main/{page.module.replace(".", "/")}.py)')
    return '{.page-links}\n' + ' · '.join(links) if page.docname != 'index' else ''


# --- pages that are made, not converted
def cards(pages, columns='1 2 2 3'):
    lines = [f'::::{{grid}} {columns}', ':gutter: 3', '']
    for p in pages:
        summary = p.summary if p.summary.endswith(('.', '?', '!')) or not p.summary else f'{p.summary}.'
        lines += [f':::{{grid-item-card}} {p.title}', f':link: /{p.docname}', ':link-type: doc', '', summary, ':::', '']
    return '\n'.join([*lines, '::::', ''])


def section_page(key, s, pages):
    lines = [f'# {s["title"]}', '', s['intro'], '']
    for g in s['groups']:
        if not (ps := [p for p in pages if p.section == key and p.group == g['title']]): continue
        if len(s['groups']) > 1: lines += [f'## {g["title"]}', '']
        lines += [cards(ps), '```{toctree}', ':hidden:', f':caption: {g["title"]}', '', *(f'/{p.docname}' for p in ps), '```', '']
    return '\n'.join(lines)


def front_cards(toc, pages):
    "What comes next, on the front page"
    first = [p for p in pages if p.section == 'tutorials'][:3]
    lines = [cards(first)] if first else []
    lines += ['::::{grid} 1 2 2 3', ':gutter: 3', '']
    for k, s in toc.items():
        lines += [f':::{{grid-item-card}} {s["title"]}', f':link: /{k}/index', ':link-type: doc', '', s['intro'], ':::', '']
    return '\n'.join([*lines, '::::', '', '```{toctree}', ':hidden:', '', *(f'{k}/index' for k in toc), '```', ''])


def llms(toc, pages):
    "An overview for language models, https://llmstxt.org"
    index = next((p for p in pages if p.docname == 'index'), None)
    lines = ['# tsfast', '', f'> {index.summary if index else "Time series deep learning on fastai"}', '']
    for k, s in toc.items():
        for g in s['groups']:
            if not (ps := [p for p in pages if p.section == k and p.group == g['title']]): continue
            lines += [f'## {g["title"]}', '', *(f'- [{p.title}]({p.docname}.html): {p.summary}' for p in ps), '']
    return '\n'.join(lines)


def write_site(pages, nbs, site):
    "All that Sphinx reads, into `site`"
    shutil.rmtree(site, ignore_errors=True); site.mkdir(parents=True)
    toc = yaml.safe_load((root/'docs'/'toc.yml').read_text())
    for p in pages:
        if not p.module: continue
        mod = importlib.import_module(p.module)
        for c in nbs[p.docname].cells:
            if c.cell_type == 'code' and directives(c.source).keys() & {'export', 'exports'}:
                for n in defined(c.source):
                    try: resolve(n, mod)
                    except AttributeError: continue
                    p.symbols[n] = f'{p.module}.{n}'
    link, by_path = linker(pages), {p.path.resolve(): p.docname for p in pages}
    for p in pages:
        cells = convert(nbs[p.docname], p, pages, link, by_path)
        if p.docname == 'index': cells.append(mk_cell(front_cards(toc, pages), 'markdown'))
        nb = nbs[p.docname]
        nb['cells'] = cells
        nb['metadata'] = {'kernelspec': {'display_name': 'python3', 'language': 'python', 'name': 'python3'}, 'language_info': {'name': 'python'}}
        f = site/f'{p.docname}.ipynb'; f.parent.mkdir(parents=True, exist_ok=True)
        write_nb(nb, f)
    for k, s in toc.items():
        (site/k).mkdir(exist_ok=True)
        (site/k/'index.md').write_text(section_page(k, s, pages))
    (site/'llms.txt').write_text(llms(toc, pages))
