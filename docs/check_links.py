"""Checks all links of a built site. Pages, anchors, images and styles must exist, and nothing may be loaded from another server.
Links into the repository must name an existing file. Other external links are not checked."""
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Refs(HTMLParser):
    "Anchors and links of a page"
    def __init__(self, text):
        super().__init__(); self.ids, self.links, self.loads = set(), set(), set()
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        for k in ('id', 'name'):
            if a.get(k): self.ids.add(a[k])
        if tag == 'a' and a.get('href'): self.links.add(a['href'])
        if tag in ('img', 'script', 'source', 'iframe') and a.get('src'): self.loads.add(a['src'])
        if tag == 'link' and a.get('href') and a.get('rel') != 'canonical': self.loads.add(a['href'])


def in_repository(file, line):
    "The file or folder is there, and has that line"
    return file.exists() and (not line or int(line) <= len(file.read_text().splitlines()))


def check(
    site:Path, # folder of the built site
    root:Path, # the repository
    repo_url='https://github.com/tsfast/tsfast', # links to it must name files of `root`
) -> list: # a line for each bad link
    "Broken links of all pages"
    pages = {f: Refs(f.read_text(encoding='utf-8')) for f in site.rglob('*.html') if '_static' not in f.parts}
    bad = []
    for f, refs in pages.items():
        for link in refs.links | refs.loads:
            u = urlsplit(link)
            if u.scheme in ('data', 'mailto', 'javascript'): continue
            if u.scheme or u.netloc:
                m = re.match(re.escape(repo_url) + r'/(?:blob|tree|edit)/main/([^#?]*)(?:#L(\d+))?', link)
                if m and not in_repository(root/unquote(m[1]), m[2]): bad.append((f, link))
                if link in refs.loads: bad.append((f, f'{link} (loaded from elsewhere)'))
                continue
            to = (f.parent/unquote(u.path)).resolve() if u.path else f
            if to.is_dir(): to = to/'index.html'
            if not to.exists() or u.fragment and to in pages and unquote(u.fragment) not in pages[to].ids: bad.append((f, link))
    return sorted(f'  {f.relative_to(site)}: {link}' for f, link in bad)
