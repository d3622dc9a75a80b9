#!/usr/bin/env python
"""Writes README.md from nbs/index.ipynb: its text, its code, and the outputs of running it.

    python docs/readme.py

A test (`tests/test_docs.py`) compares text and code of the two. The outputs are those of the last run of this script."""
import base64, io, re, shutil, sys, tempfile
from pathlib import Path
from fastcore.nbio import read_nb

sys.path.insert(0, str(Path(__file__).resolve().parent))
from text import directives, without_bars, without_directives

root = Path(__file__).resolve().parents[1]
images = root/'docs'/'images'
start, end = '<!-- output -->', '<!-- /output -->'


def relink(md):
    "Links of a notebook in nbs/, rewritten for a file beside that folder"
    def one(m):
        if re.match(r'[a-z]+:|#', m[2]): return m[0]
        path, _, frag = m[2].partition('#')
        return f'{m[1]}({((root/"nbs"/path).resolve()).relative_to(root).as_posix()}{"#" + frag if frag else ""})'
    return re.sub(r'(!?\[[^\]]*\])\(([^)\s]+)\)', one, md)


def save_small(png, file, width=1200):
    "Save a plot with a palette and at most `width` pixels; it has few colours, so the file becomes much smaller"
    from PIL import Image
    im = Image.open(io.BytesIO(png)).convert('RGB')
    if im.width > width: im = im.resize((width, round(im.height*width/im.width)), Image.Resampling.LANCZOS)
    im.quantize(64, dither=Image.Dither.NONE).save(file, optimize=True)


def outputs_of(cell, save=False):
    "The outputs of a cell as Markdown; pictures go to docs/images"
    parts = []
    for o in cell.get('outputs') or []:
        if o.output_type == 'stream' and o.name == 'stdout':
            text = without_bars(''.join(o.text)).strip('\n')
            if text: parts.append(f'```text\n{text}\n```')
        elif 'data' in o:
            d = o['data']
            if 'image/png' in d:
                name = f'readme-{len(list(images.glob("readme-*.png")))+1}.png' if save else 'readme-1.png'
                if save: save_small(base64.b64decode(''.join(d['image/png'])), images/name)
                parts.append(f'![Output of the code above](docs/images/{name})')
            elif 'text/markdown' in d: parts.append(relink(''.join(d['text/markdown'])))
            elif 'text/plain' in d and 'text/html' not in d: parts.append(f"```text\n{''.join(d['text/plain'])}\n```")
    return '\n\n'.join(parts)


def render(nb, save=False):
    "A notebook as Markdown; outputs are between two comments"
    parts = []
    for c in nb.cells:
        if c.cell_type == 'markdown': parts.append(relink(c.source.strip())); continue
        d = directives(c.source)
        if 'hide' in d: continue
        if d.get('echo') != 'false': parts.append('```python\n' + without_directives(c.source) + '\n```')
        if (o := outputs_of(c, save)): parts.append(f'{start}\n\n{o}\n\n{end}')
    return '\n\n'.join(parts) + '\n'


def without_outputs(md): return re.sub(rf'{re.escape(start)}.*?{re.escape(end)}\n*', '', md, flags=re.S).strip()


def main():
    sys.path.insert(0, str(root))
    from tsfast.threads import set_thread_defaults
    set_thread_defaults(1)     # README.md says so
    from run_notebook import run_notebook
    with tempfile.TemporaryDirectory() as tmp:
        nb = Path(tmp)/'nbs'/'index.ipynb'; nb.parent.mkdir()
        shutil.copy2(root/'nbs'/'index.ipynb', nb)
        if (root/'benchmarks'/'results').is_dir(): shutil.copytree(root/'benchmarks'/'results', Path(tmp)/'benchmarks'/'results')
        shutil.copy2(root/'pyproject.toml', tmp)
        _, ok, _ = run_notebook(nb)
        if not ok: sys.exit('nbs/index.ipynb failed; its traceback is above')
        images.mkdir(exist_ok=True)
        for f in images.glob('readme-*.png'): f.unlink()
        (root/'README.md').write_text(render(read_nb(nb), save=True))


if __name__ == '__main__': main()
