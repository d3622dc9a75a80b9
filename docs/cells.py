"From the cells of a notebook to those of a page: links, outputs, and which cells are open, folded or left out"
import ast, importlib, re, tempfile
from fastcore.nbio import mk_cell
from entries import entry, exported
from pages import colab, repo, root
from text import directives, without_bars, without_directives


# --- prose
def outside_code(md, f):
    "Apply `f` to the lines of `md` that are neither code nor headings"
    res, fence = [], None
    for line in md.split('\n'):
        m = re.match(r'\s*(`{3,}|~{3,})', line)
        if m and fence is None:
            fence = m[1]
            res.append(line)
        elif fence is not None:
            if line.strip().startswith(fence): fence = None
            res.append(line)
        else: res.append(line if re.match(r'#{1,6} |\(.+\)=$| {4}', line) else f(line))
    return '\n'.join(res)


def linker(pages):
    "A function that turns `names` in prose into links: to entries of this site, or to fastai's"
    from nbdev.doclinks import NbdevLookup
    fastai = NbdevLookup(incl_libs=('fastai', 'fastcore')).syms
    ours = {}
    for p in pages:
        for name, label in p.symbols.items(): ours.setdefault(name, set()).add((p.docname, label))
    for p in pages:
        if p.module: ours.setdefault(p.module, {(p.docname, None)})

    def one(m, here):
        name = re.sub(r'^learn(er)?\.', 'Learner.', m[1].removesuffix('()'))
        to = ours.get(name) or ours.get(f'TS{name}')      # `learn.lr_find` is a method of TSLearner
        if to and len(to) == 1:
            page, label = next(iter(to))
            if page == here: return m[0]
            return f'[{m[0]}](#{label})' if label else f'[{m[0]}](/{page}.ipynb)'
        known = fastai.get(name)
        if to or not isinstance(known, tuple) or 'fast.ai' not in known[0]: return m[0]
        return f'[{m[0]}]({known[0]})' if re.search(r'[A-Z_]', name) and len(name) > 5 else m[0]

    name = re.compile(r'(?<![\[`\w])`([A-Za-z_][\w.]*(?:\(\))?)`(?![\]`])')
    return lambda md, here: outside_code(md, lambda line: name.sub(lambda m: one(m, here), line))


def rewrite_links(md, page, by_path):
    "Links between notebooks, and from notebooks to files of the repository"
    def one(m):
        target, frag = (m[2].split('#', 1) + [''])[:2]
        if re.match(r'[a-z]+:|#|/', m[2]) or not target: return m[0]
        f = (page.path.parent/target).resolve()
        if f in by_path: return f'[{m[1]}](/{by_path[f]}.ipynb{"#"+frag if frag else ""})'
        if root not in f.parents or not f.exists():
            raise ValueError(f'{page.path.relative_to(root)}: the link {m[0]} is broken')
        return f'[{m[1]}]({repo}/{"tree" if f.is_dir() else "blob"}/main/{f.relative_to(root).as_posix()})'
    return outside_code(md, lambda l: re.sub(r'(?<!!)\[([^\]]*)\]\(([^)\s]+)\)', one, l))


# --- outputs
def without_places(text):
    "Remove folders and memory addresses of the machine that built the site"
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
    if '<progress' in text or re.fullmatch(r'\s*<style>.*?</style>\s*', text, re.S): return None
    if 'text/html' in data:
        text = re.sub(r'<style>.*?</style>', '', text, flags=re.S)
        data['text/html'] = re.sub(r' border="1"| style="text-align: (?:left|right);"', '', text)
    if not data.get('text/html', 'x').strip(): return None
    return None if only_a_handle(data) else o


def only_a_handle(data):
    "The value of a plotting call, such as `[<Axes…>]`, without a picture"
    text = ''.join(data.get('text/plain', ''))
    return 'image/png' not in data and re.match(r'(?:\[?<(?:Axes|Figure|matplotlib)|\[?<matplotlib|Text\(|array\(\[\[?<Axes)', text)


def merge_streams(outs):
    "Neighbouring pieces of printed text as one"
    res = []
    for o in outs:
        if res and o.output_type == 'stream' and res[-1].output_type == 'stream':
            res[-1]['text'] = ''.join(res[-1].text) + ''.join(o.text)
        else: res.append(o)
    return res


# --- cells
def convert(nb, page, link, by_path):
    "The cells of a page; `show_doc(name)` shows the entry of a name that has its own in another page"
    mod = importlib.import_module(page.module) if page.module else None
    to_links = lambda md: link(rewrite_links(md, page, by_path), page.docname)
    cells = []
    for i, c in enumerate(nb.cells):
        d = directives(c.source) if c.cell_type == 'code' else {}
        if c.cell_type == 'markdown': cells += prose(c.source, page, to_links, first=i == 0)
        elif 'hide' in d or 'default_exp' in d or 'nbdev_export()' in c.source: continue
        elif d.keys() & {'export', 'exports'}:
            if (md := exported(c.source, mod, page)): cells.append(mk_cell(link(md, page.docname), 'markdown'))
        elif (m := re.fullmatch(r'show_doc\(([\w.]+)\)', without_directives(c.source))):
            cells.append(mk_cell(link(entry(m[1], mod, page, label=False), page.docname), 'markdown'))
        else: cells += executed(c, d, page, to_links)
    return cells


def prose(src, page, to_links, first):
    "A cell of text; the links of the page follow the title"
    if first: src = re.sub(r'\A(#[^\n]+)\n+> *([^\n]+)', r'\1\n\n{.lead}\n\2', src)
    src = re.sub(r'^:::\s*\{\.callout-(\w+)[^}]*\}', r':::{\1}', src, flags=re.M)
    cells = [mk_cell(to_links(src), 'markdown')]
    if first and page.docname != 'index': cells.append(mk_cell(badges(page), 'markdown'))
    return cells


def executed(cell, d, page, to_links):
    "A cell of code with its outputs; tests are folded"
    src = without_directives(cell.source)
    outs = [o for o in map(tidy_output, cell.outputs or []) if o is not None]
    for o in outs:
        if 'text/markdown' in o.get('data', {}): o['data'] = {'text/markdown': to_links(''.join(o['data']['text/markdown']))}
    if d.get('output') == 'asis': return [as_is(o) for o in outs]
    if d.get('output') == 'false': outs = []
    hidden = d.get('echo') == 'false'
    if hidden and not outs or page.section == 'reference' and not outs and only_imports_tests(src): return []
    tests = page.section == 'reference' and not outs and is_test(src)
    return [code_cell(src, merge_streams(outs), ['remove-input'] if hidden else ['hide-input'] if tests else [])]


def code_cell(src, outs, tags):
    cell = mk_cell(src, 'code')
    cell.outputs, cell.metadata['tags'] = outs, tags
    cell['execution_count'] = None
    if 'hide-input' in tags: cell.metadata['mystnb'] = {'code_prompt_show': 'Tests', 'code_prompt_hide': 'Tests'}
    return cell


def as_is(o):
    "Markdown written by code becomes text of the page; a picture becomes a cell of which only the output is shown"
    if 'text/markdown' in o.get('data', {}): return mk_cell(o['data']['text/markdown'], 'markdown')
    return code_cell('...', [o], ['remove-input'])


def only_imports_tests(src): return 'fastcore.test' in src and re.fullmatch(r'(?:(?:from|import) [^\n]+\n?)+', src)


def is_test(src, most=3):
    "A cell that is marked `# tests`, or consists of more than `most` checks"
    if re.match(r'#\s*tests?\b', src): return True
    body = ast.parse(re.sub(r'^\s*[!%].*$', 'pass', src, flags=re.M)).body
    return len(body) > most and all(re.match(r'assert|test_|with expect_fail|(?:from|import) ', ast.unparse(o)) for o in body)


def badges(page):
    rel = page.path.relative_to(root).as_posix()
    links = [f'[Notebook]({repo}/blob/main/{rel})']
    if page.section in ('tutorials', 'guides'): links.insert(0, f'[Open in Colab]({colab}/{rel}){{.badge-link}}')
    if page.module: links.append(f'[Module]({repo}/blob/main/{page.module_file})')
    return '{.page-links}\n' + ' · '.join(links)
