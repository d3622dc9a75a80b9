"Functions that the site and the README share"
import re


def directives(source):
    "Directives at the head of a cell, such as `#| export`: {name: rest}"
    return dict(re.findall(r'^\s*#\s*\|\s*([\w-]+):?[ \t]*(.*)$', source, re.M))


def without_directives(source): return re.sub(r'^\s*#\s*\|.*\n?', '', source, flags=re.M).strip('\n')


def without_bars(text):
    "Printed text as a terminal finally shows it, without progress bars"
    lines = []
    for line in text.split('\n'):
        seen = [o for o in line.split('\r') if o.strip() and '█' not in o and not re.match(r'Epoch \d+/\d+ :|\s*\|-*\|', o)]
        if seen or not line: lines.append(as_columns(seen[-1].rstrip()) if seen else '')
    return '\n'.join(lines)


def as_columns(line):
    "A row of fastai's plain log, `[0, 0.5192922353744507, '00:01']`, in the columns of its table"
    if not re.fullmatch(r"\[\d+, .*'\d+:\d+'\]", line): return line
    n, *values, time = line.strip('[]').split(', ')
    return f'{n:<10}' + ''.join(f'{float(v):<12.6f}' if v[0] in '-0123456789' else f'{v:<12}' for v in values) + time.strip("'")
