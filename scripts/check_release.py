"Is a tag fit for a release? `python scripts/check_release.py v0.1.0`: the version, its date in the change log, and a bundle for later tests"
import re, sys
from configparser import ConfigParser
from pathlib import Path

root = Path(__file__).resolve().parents[1]


def faults(tag, root=root):
    "What is missing for a release of this tag, as sentences"
    ini = ConfigParser(delimiters=['='], interpolation=None)
    ini.read(root/'settings.ini', encoding='utf-8')
    version = ini['DEFAULT']['version']
    if tag != f'v{version}': yield f'The tag is {tag}, and settings.ini has version {version}. Expected v{version}.'
    heads = re.findall(r'^## (\S+), (.+)$', (root/'CHANGELOG.md').read_text(encoding='utf-8'), re.M)
    date = dict(heads).get(version)
    if date is None: yield f'CHANGELOG.md has no part "## {version}, <date>".'
    elif not re.fullmatch(r'\d{4}-\d\d-\d\d', date): yield f'CHANGELOG.md says "## {version}, {date}". Expected a date, such as 2026-11-28.'
    formats = int(re.search(r'^FORMAT, VERSION = .*?(\d+)$', (root/'tsfast/bundle.py').read_text(encoding='utf-8'), re.M)[1])
    if not any((root/'tests/data').glob(f'bundle_v{formats}_*')):
        yield f'tests/data has no bundle of format {formats}, for the tests of later versions. Write it with python scripts/make_test_bundles.py.'


if __name__ == '__main__':
    found = list(faults(sys.argv[1]))
    sys.exit('\n'.join(found) or None)
