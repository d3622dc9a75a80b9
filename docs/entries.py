"From an exported cell to a page: an open entry for each public name, and the code, folded"
import ast, inspect, re
from pathlib import Path
from pages import repo, root
from text import without_directives


# --- the definitions of a cell
def definitions(source):
    "(name, code) of each definition and constant of a cell, in order; what is patched into a class is `Class.name`"
    lines = source.split('\n')
    for o in ast.parse(source).body:
        if isinstance(o, (ast.Import, ast.ImportFrom)) or (name := name_of(o)) is None: continue
        first = min(n.lineno for n in [o, *getattr(o, 'decorator_list', [])])
        yield name, '\n'.join(lines[first-1:o.end_lineno])


def name_of(o):
    "The name that a statement defines; '' for a statement that defines none, None for a docstring or `__all__`"
    if isinstance(o, ast.Expr) and isinstance(o.value, ast.Constant): return None
    if isinstance(o, (ast.Assign, ast.AnnAssign)):
        name = ast.unparse(o.targets[0] if isinstance(o, ast.Assign) else o.target)
        return None if name in ('__all__', '_all_') else name
    if not isinstance(o, (ast.FunctionDef, ast.ClassDef)): return ''
    patched = 'patch' in decorators(o) and o.args.args[0].annotation
    return f'{ast.unparse(patched)}.{o.name}' if patched else o.name


def decorators(o): return [getattr(d, 'id', getattr(getattr(d, 'func', None), 'id', '')) for d in o.decorator_list]


def defined(source):
    "Names of the public functions and classes that a cell defines, `Class.name` for what is patched into a class"
    return [name_of(o) for o in ast.parse(source).body if isinstance(o, (ast.FunctionDef, ast.ClassDef))
            and not o.name.startswith('_') and 'dispatch' not in decorators(o)]


def resolve(name, mod):
    "The object that `name` is in module `mod`"
    first, *rest = name.split('.')
    o = getattr(mod, first)
    for k in rest: o = inspect.getattr_static(o, k) if k in vars(o) else getattr(o, k)
    if isinstance(o, (classmethod, staticmethod)): return o.__func__
    return getattr(o, 'fget', o) if isinstance(o, property) else o


def folded(title, code, kind='code'):
    "Python code that a click opens"
    fence = '`'*max(3, *(len(o) + 1 for o in re.findall('`+', code)), 3)
    body = [f'{fence}{{code-block}} python', code.strip('\n'), fence]
    return '\n'.join([f'::::{{dropdown}} {title}', f':class-container: folded {kind}', '', *body, '::::', ''])


def exported(source, mod, page):
    "An exported cell as Markdown: the entries of its public names first, then its helpers, folded"
    parts, helpers, public = [], [], set(defined(source)) & set(page.symbols)
    for name, code in definitions(without_directives(source)):
        if name in public: parts += [entry(name, mod, page), folded('Code', code)]
        else: helpers.append((name, code))
    if helpers:
        names = list(dict.fromkeys(f'`{n}`' for n, _ in helpers if n))
        title = ', '.join(names[:4]) + (', …' if len(names) > 4 else '')
        parts.append(folded(f'Helpers: {title}' if title else 'Helpers', '\n\n'.join(o for _, o in helpers), 'helpers'))
    return '\n'.join(parts)


# --- one entry
def entry(name, mod, page, label=True):
    "The reference entry of a public name: signature, docstring, parameters, methods. With `label` it can be linked to"
    sym = resolve(name, mod)
    doc = '' if inspect.isclass(sym) and sym.__doc__ is None else inspect.cleandoc(sym.__doc__ or '')
    doc = re.sub(r'^Examples\n-+\n(.*)', r'```python\n\1\n```', doc, flags=re.S | re.M)     # the form that sktime requires
    doc = re.sub(r'(?<![`\w-])--(\w[\w-]*)', r'`--\1`', doc)      # an option, not a dash
    head = [f'({page.symbols[name]})='] if label else []
    return '\n'.join([*head, f'### {name}', '', *call(sym, name), *paragraphs(source_link(sym), doc, table(sym)),
                      *own_methods(sym, name, page)])


def call(sym, name): return ['```{code-block} python', ':class: signature', signature(sym, name), '```', '']


def paragraphs(*parts): return [o for p in parts if p for o in (p, '')]


def own_methods(sym, name, page):
    "The methods of a class that have no entry of their own, folded"
    ms = [(k, f) for k, f in methods(sym) if f'{name}.{k}' not in page.symbols] if inspect.isclass(sym) else []
    if not ms: return []
    lines = ['::::{dropdown} Methods', ':class-container: folded methods', '']
    for k, f in ms: lines += [*call(f, k), *paragraphs(inspect.cleandoc(f.__doc__), table(f))]
    return [*lines, '::::', '']


def methods(cls):
    "Public methods that a class defines itself and explains"
    for k, v in vars(cls).items():
        f = v.__func__ if isinstance(v, (classmethod, staticmethod)) else v
        if not k.startswith('_') and inspect.isfunction(f) and f.__doc__ and f.__module__.startswith('tsfast'): yield k, f


def source_link(sym):
    "A link to the definition in the repository, or '' for what has no source there"
    sym = inspect.unwrap(sym)     # the source of a decorated function is that of the function itself
    try: f, n = inspect.getsourcefile(sym), inspect.getsourcelines(sym)[1]
    except (TypeError, OSError): return ''
    f = Path(f).resolve()
    if root/'tsfast' not in f.parents: return ''
    return f'[source]({repo}/blob/main/{f.relative_to(root).as_posix()}#L{max(n, 1)}){{.source-link}}'


# --- signatures and parameters
def signature(sym, name, width=88):
    "The call, in one line or in several"
    if inspect.isclass(sym):      # the signature of a base class outside tsfast is not shown
        init = next((vars(o)['__init__'] for o in sym.__mro__ if '__init__' in vars(o)), None)
        if not getattr(init, '__module__', '').startswith('tsfast'): return f'{name}()'
        sym = init
    try: sig = inspect.signature(sym)
    except (TypeError, ValueError): return name
    parts = arguments(sig)
    line = f'{name}({", ".join(parts)})'
    if len(line) <= width: return line
    lines, cur = [], ''
    for o in parts:
        if cur and len(cur) + len(o) > width - 6:
            lines.append(cur)
            cur = ''
        cur += f'{o}, '
    return f'{name}(\n' + '\n'.join(f'    {o.rstrip()}' for o in [*lines, cur.rstrip(', ')]) + ')'


def arguments(sig):
    "The parameters of a signature with their defaults, and `*` where those by keyword begin"
    parts, kwonly = [], False
    for p in (p for k, p in sig.parameters.items() if k not in ('self', 'cls')):
        if p.kind == p.KEYWORD_ONLY and not kwonly: parts.append('*')
        kwonly = kwonly or p.kind in (p.VAR_POSITIONAL, p.KEYWORD_ONLY)
        star = {p.VAR_POSITIONAL: '*', p.VAR_KEYWORD: '**'}.get(p.kind, '')
        parts.append(f'{star}{p.name}' + ('' if p.default is p.empty else f'={default(p.default)}'))
    return parts


def default(o):
    if inspect.isclass(o) or inspect.isfunction(o) or inspect.isbuiltin(o): return o.__name__
    r = repr(o)
    return r if len(r) < 40 and ' at 0x' not in r else f'{type(o).__name__}(...)'


def type_name(a):
    if a in (inspect.Parameter.empty, type(None)): return ''
    if isinstance(a, str): return a
    if inspect.isclass(a) and not getattr(a, '__args__', None): return a.__name__
    return re.sub(r'\b(?:\w+\.)+(\w+)', r'\1', str(a))


def as_cell(s): return str(s).replace('|', '\\|').replace('\n', ' ')


def as_prose(s):
    "A comment is plain text: escape what looks like markup"
    return as_cell(s) if '`' in s else re.sub(r'(?<![`\w])([*_<$])', r'\\\1', as_cell(s))


def table(sym):
    "Parameters as a table, from the comments beside them"
    from fastcore.docments import docments
    try: dm = docments(sym, full=True, returns=True)
    except Exception: return ''     # there is no source, for example if a class inherits its __init__
    dm = {k: v for k, v in dm.items() if k not in ('self', 'cls')}
    if not any(v.docment for v in dm.values()): return ''
    lines = [o for k, v in dm.items() if (o := table_row(k, v))]
    keep = [i for i in range(4) if i in (0, 3) or any(o[i] for o in lines)]     # a column without entries is left out
    row = lambda o: '| ' + ' | '.join(o[i] for i in keep) + ' |'
    return '\n'.join([row(('', 'Type', 'Default', '')), row(['---']*4), *map(row, lines)])


def table_row(name, param):
    "Name, type, default and meaning of a parameter; None for a return value without type and meaning"
    kind, meaning = type_name(param.anno), as_prose(param.docment or '')
    kind = kind and f'`{as_cell(kind)}`'
    if name == 'return': return ('*returns*', kind, '', meaning) if kind or meaning else None
    given = '' if param.default is inspect.Parameter.empty else f'`{as_cell(default(param.default))}`'
    return f'`{name}`', kind, given, meaning
